// Models in several GGUF files: the whole model again, and every way the files can be wrong.
#include <doctest/doctest.h>

#include "model/gguf_split.h"
#include "support/loading.h"
#include "support/tiny_gguf.h"

using namespace nutshell;
using namespace nutshell::test;

namespace {

// The tiny model cut into `count` parts, as gguf-split cuts: all metadata in the first, tensors in turn.
std::vector<TestFile> split_model(int count, const std::string& stem = "tiny") {
  const GgufWriter whole = tiny_gguf();
  std::vector<TestFile> files;
  for (int i = 0; i < count; ++i) {
    GgufWriter part;
    if (i == 0) part.keys = whole.keys;
    part.add("split.no", static_cast<uint16_t>(i));
    part.add("split.count", static_cast<uint16_t>(count));
    part.add("split.tensors.count", static_cast<int32_t>(whole.tensors.size()));
    for (size_t t = 0; t < whole.tensors.size(); ++t)
      if (t * static_cast<size_t>(count) / whole.tensors.size() == static_cast<size_t>(i))
        part.tensors.push_back(whole.tensors[t]);
    files.push_back(
        {part_name(stem, static_cast<uint32_t>(i + 1), static_cast<uint32_t>(count)), part.build()});
  }
  return files;
}

}  // namespace

TEST_CASE("a split model gives the logits of the whole one, in any order of its files") {
  ThreadPool pool(1);
  const std::vector<int32_t> tokens = {1, 2, 3, 200, 7};
  const std::vector<float> whole = logits_of(pool, {{"tiny.gguf", tiny_gguf().build()}}, tokens);
  std::vector<TestFile> files = split_model(3);
  CHECK(logits_of(pool, files, tokens) == whole);
  std::swap(files[0], files[2]);
  CHECK(logits_of(pool, files, tokens) == whole);
  // One part only is a model by itself too.
  CHECK(logits_of(pool, split_model(1), tokens) == whole);
}

TEST_CASE("progress of a split model ends at the size of all files") {
  ThreadPool pool(1);
  const std::vector<TestFile> files = split_model(2);
  Loader loader(pool, load_options(files));
  REQUIRE(feed(loader, files).ok());
  CHECK(loader.total_bytes() == files[0].bytes.size() + files[1].bytes.size());
  CHECK(loader.done_bytes() <= loader.total_bytes());
  CHECK(loader.done_bytes() + 2 * 20 * 32 >= loader.total_bytes());  // all but the padding
}

TEST_CASE("split models with something wrong are refused and say what") {
  std::vector<TestFile> files = split_model(3);
  check_refused({files[0]}, ErrorCode::missing_part, {"3 parts", "2, 3"});
  check_refused({files[0], files[2]}, ErrorCode::missing_part, {"3 parts", "1 is missing", "2"});
  check_refused({files[1], files[2]}, ErrorCode::missing_part, {"missing: 1"});
  check_refused({files[0], files[1], files[1]}, ErrorCode::corrupt_file, {"both part 2"});
  check_refused({files[0], split_model(2)[1]}, ErrorCode::corrupt_file, {"different models", "3 parts"});
  check_refused({files[0], files[1], split_model(3, "other")[2]}, ErrorCode::corrupt_file,
                {"other-00003-of-00003.gguf", "names differ"});
  check_refused({{"tiny.gguf", tiny_gguf().build()}, files[1]}, ErrorCode::invalid_argument,
                {"tiny.gguf", "by itself"});
  files[1].bytes.resize(40);
  check_refused(files, ErrorCode::truncated, {"tiny-00002-of-00003.gguf"});
  files[1].bytes.clear();
  check_refused(files, ErrorCode::truncated, {"tiny-00002-of-00003.gguf", "empty"});
  check_refused({}, ErrorCode::missing_part, {"no files"});
}

TEST_CASE("parts that lie about themselves are refused") {
  const auto with = [](auto... keys) {
    GgufWriter w = tiny_gguf();
    (w.add(keys.first, keys.second), ...);
    return std::vector<TestFile>{{"a.gguf", w.build()}};
  };
  using P = std::pair<const char*, int32_t>;
  check_refused(with(P{"split.count", 2}), ErrorCode::missing_metadata, {"split.no"});
  check_refused(with(P{"split.count", 0}, P{"split.no", 0}), ErrorCode::corrupt_file, {"part 1 of 0"});
  check_refused(with(P{"split.count", 1}, P{"split.no", 1}), ErrorCode::corrupt_file, {"part 2 of 1"});
  check_refused(with(P{"split.count", 1 << 30}, P{"split.no", 0}), ErrorCode::corrupt_file, {"1073741824"});
  check_refused(with(P{"split.count", 1}, P{"split.no", 0}, P{"split.tensors.count", 21}),
                ErrorCode::corrupt_file, {"20 tensors", "21"});
  // The same tensor in two parts.
  std::vector<TestFile> files = split_model(2);
  GgufWriter twice;
  twice.add("split.no", uint16_t{1});
  twice.add("split.count", uint16_t{2});
  twice.add("split.tensors.count", int32_t{20});
  twice.tensors = tiny_gguf().tensors;
  files[1].bytes = twice.build();
  check_refused(files, ErrorCode::corrupt_file, {"token_embd.weight", "two parts"});
}

TEST_CASE("names of parts") {
  const auto part = parse_part_name("a-00002-of-00010.gguf");
  REQUIRE(part);
  CHECK(part->stem == "a");
  CHECK(part->number == 2);
  CHECK(part->count == 10);
  CHECK(part_name(part->stem, part->number, part->count) == "a-00002-of-00010.gguf");
  for (const char* name : {"a.gguf", "-00001-of-00002.gguf", "a-00003-of-00002.gguf", "a-00000-of-00002.gguf",
                           "a-0001-of-00002.gguf", "a-0000x-of-00002.gguf", "a-00001-of-00002.bin"})
    CHECK_FALSE(parse_part_name(name));
}

TEST_CASE("experts' gate and up in one tensor are the two tensors of other files") {
  GgufWriter w = small_gguf();
  const uint64_t n_in = 4, n_ff = 3, n_expert = 2;
  w.add_tensor("blk.0.ffn_gate_up_exps.weight", {n_in, 2 * n_ff, n_expert}, DType::f32, Bytes(192));
  w.add_tensor("blk.0.ffn_gate_up_exps.bias", {2 * n_ff, n_expert}, DType::f32, Bytes(48));
  w.add_tensor("blk.1.ffn_gate_up_exps.weight", {n_in, 5, n_expert}, DType::f32, Bytes(160));  // no halves
  const Bytes bytes = w.build();
  auto file = parse_gguf(bytes, bytes.size());
  REQUIRE(file.ok());
  const uint64_t begin = (*file)->data_offset();
  const uint64_t weight = begin + (*file)->find_tensor("blk.0.ffn_gate_up_exps.weight")->offset;
  const uint64_t bias = begin + (*file)->find_tensor("blk.0.ffn_gate_up_exps.bias")->offset;
  const ModelHeader header = header_of(std::move(**file));
  CHECK(header.tensors.find("blk.0.ffn_gate_up_exps.weight") == nullptr);
  CHECK(header.tensors.find("blk.1.ffn_gate_up_exps.weight") != nullptr);
  const uint64_t row = 4 * n_in;
  for (const auto& [name, first] : {std::pair{"gate", 0u}, std::pair{"up", 3u}}) {
    const TensorEntry* t = header.tensors.find("blk.0.ffn_" + std::string(name) + "_exps.weight");
    REQUIRE(t != nullptr);
    CHECK(t->n_slices() == 2);
    CHECK(t->n_rows == 6);
    CHECK(t->n_cols == 4);
    CHECK(t->bytes == 96);
    REQUIRE(t->pieces.size() == 2);
    for (uint64_t e = 0; e < 2; ++e) {
      CHECK(t->pieces[e].offset == weight + (e * 6 + first) * row);
      CHECK(t->pieces[e].n_rows == 3);
    }
    const TensorEntry* b = header.tensors.find("blk.0.ffn_" + std::string(name) + "_exps.bias");
    REQUIRE(b != nullptr);
    CHECK(b->n_rows == 2);
    CHECK(b->n_cols == 3);
    REQUIRE(b->pieces.size() == 2);
    CHECK(b->pieces[1].offset == bias + (6 + first) * 4);
    CHECK(b->pieces[1].n_rows == 1);
  }
}
