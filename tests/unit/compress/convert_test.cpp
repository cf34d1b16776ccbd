// Plain formats out of GGUF files and folders: the engine runs what is written, the same numbers come out,
// and bad input writes nothing that looks whole.
#include <doctest/doctest.h>

#include <cmath>
#include <map>

#include "compress/convert.h"
#include "compress/gguf_writer.h"
#include "support/tiny_folder.h"

using namespace nutshell;
using namespace nutshell::test;
using nutshell::compress::convert;
using nutshell::compress::ConvertOptions;
using nutshell::compress::ConvertReport;

namespace {

const std::vector<int32_t> kTokens = {1, 2, 3, 200, 7, 256};

struct Converted {
  Status status;
  ConvertReport report;
  Bytes file;
};

Converted convert_files(const std::vector<TestFile>& files, DType to, bool pure = false, int threads = 1) {
  Converted out;
  ThreadPool pool(threads);
  auto header = read_header(files);
  REQUIRE_MESSAGE(header.ok(), header.status().message());
  const auto report = convert(
      std::move(*header),
      [&](uint32_t file, uint64_t offset, std::span<uint8_t> target) {
        const Bytes& bytes = files.at(file).bytes;
        REQUIRE(offset + target.size() <= bytes.size());
        std::memcpy(target.data(), bytes.data() + offset, target.size());
        return Status();
      },
      {to, pure}, pool,
      [&](std::span<const uint8_t> bytes) {
        out.file.insert(out.file.end(), bytes.begin(), bytes.end());
        return Status();
      },
      {});
  out.status = report.status();
  if (report.ok()) out.report = *report;
  return out;
}

std::vector<float> logits_of_file(const Bytes& file) {
  ThreadPool pool(1);
  return logits_of(pool, {{"out.gguf", file}}, kTokens);
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i] - b[i]), 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / size);
}

std::map<std::string, std::string> formats_of(const Bytes& file) {
  const auto header = parse_gguf(file, file.size());
  REQUIRE_MESSAGE(header.ok(), header.status().message());
  REQUIRE(header->has_value());
  std::map<std::string, std::string> formats;
  for (const GgufTensor& t : (*header)->tensors()) formats[t.name] = t.format_name();
  return formats;
}

TinyShape wide() {  // rows that hold whole blocks of 256 in ffn_down, and of 32 only elsewhere
  TinyShape s;
  s.n_ff = 256;
  return s;
}

}  // namespace

TEST_CASE("quantize: every format runs, is as large as told, and is the same for any number of threads") {
  const std::vector<TestFile> source = {{"a.gguf", tiny_gguf(wide()).build()}};
  const std::vector<float> original = logits_of_file(source[0].bytes);
  // Noise of a format in the weights against their size, half a step of uniform codes: the logits of two
  // layers differ by a few times that. A wrong layout or scale gives distances near 1.4.
  const std::pair<DType, double> kCases[] = {{DType::f32, 1e-6},  {DType::f16, 1e-3}, {DType::q8_0, 0.03},
                                             {DType::q6_k, 0.06}, {DType::q4_k, 0.3}, {DType::q4_1, 0.3},
                                             {DType::q4_0, 0.3}};
  for (const auto& [to, bound] : kCases) {
    CAPTURE(name_of(to));
    const Converted one = convert_files(source, to), three = convert_files(source, to, false, 3);
    REQUIRE_MESSAGE(one.status.ok(), one.status.message());
    CHECK(one.file == three.file);
    CHECK(one.file.size() == one.report.bytes);
    CHECK(distance(logits_of_file(one.file), original) < bound);
  }
}

TEST_CASE("quantize: rows that are no whole blocks take another format, and the output matrix a better one") {
  const std::vector<TestFile> source = {{"a.gguf", tiny_gguf(wide()).build()}};
  const Converted q4 = convert_files(source, DType::q4_k);
  REQUIRE(q4.status.ok());
  auto formats = formats_of(q4.file);
  CHECK(formats["blk.0.ffn_down.weight"] == "Q4_K");
  CHECK(formats["blk.0.attn_q.weight"] == "Q5_0");
  CHECK(formats["token_embd.weight"] == "Q8_0");  // tied: meant for Q6_K, rows of 64
  CHECK(formats["blk.0.attn_norm.weight"] == "F32");
  size_t fell_back = 0;
  for (const ConvertReport::Tensor& t : q4.report.tensors) fell_back += t.fell_back;
  CHECK(fell_back == 2 * 6 + 1);
  CHECK(formats_of(convert_files(source, DType::q4_0).file)["token_embd.weight"] == "Q8_0");
  CHECK(formats_of(convert_files(source, DType::q4_0, true).file)["token_embd.weight"] == "Q4_0");
  CHECK(formats_of(convert_files(source, DType::q6_k).file)["blk.1.ffn_down.weight"] == "Q6_K");
}

TEST_CASE("quantize: a llama folder becomes a file in GGUF's order, with keys of GGUF's types") {
  for (const DType stored : {DType::f32, DType::bf16}) {
    const std::vector<TestFile> folder = tiny_folder("LlamaForCausalLM", tiny_tensors("llama", stored));
    const Converted out = convert_files(folder, DType::f32);
    REQUIRE_MESSAGE(out.status.ok(), out.status.message());
    ThreadPool pool(1);
    // Only the order of the sums in a head's dot products differs.
    CHECK(distance(logits_of_file(out.file), logits_of(pool, folder, kTokens)) < 1e-5);
    const auto header = parse_gguf(out.file, out.file.size());
    REQUIRE(header.ok());
    const GgufFile& file = **header;
    CHECK_FALSE(file.has("nutshell.rope_halves"));
    CHECK(file.find("llama.block_count")->type == GgufType::u32);
    CHECK(file.find("llama.attention.layer_norm_rms_epsilon")->type == GgufType::f32);
    CHECK(file.find("tokenizer.ggml.token_type")->element == GgufType::i32);
    CHECK(file.get_strings("tokenizer.ggml.tokens").value().size() == 258);
  }
}

TEST_CASE("quantize: qwen2's biases keep their place and a folder's bf16 vectors become f32") {
  const auto tensors = tiny_tensors("qwen2", DType::bf16);
  const std::vector<TestFile> folder = tiny_folder("Qwen2ForCausalLM", tensors);
  const Converted out = convert_files(folder, DType::bf16);
  REQUIRE(out.status.ok());
  ThreadPool pool(1);
  CHECK(logits_of_file(out.file) == logits_of(pool, folder, kTokens));
  auto formats = formats_of(out.file);
  CHECK(formats["blk.0.attn_q.bias"] == "F32");
  CHECK(formats["blk.0.attn_q.weight"] == "BF16");
}

TEST_CASE("quantize: what is in the format already keeps its bytes, and every kind of key its value") {
  GgufWriter w = tiny_gguf();
  const std::vector<std::string> words = {"a", "", "caf\xc3\xa9"};
  w.add("x.f64", 0.25);
  w.add("x.i64", int64_t{-5000000000});
  w.add_array<bool>("x.bools", {true, false});
  w.add_strings("x.words", words);
  Bytes nested;
  put(nested, static_cast<uint32_t>(GgufType::array));
  put<uint64_t>(nested, 2);
  for (const uint16_t v : {7, 8}) {
    put(nested, static_cast<uint32_t>(GgufType::u16));
    put<uint64_t>(nested, 1);
    put(nested, v);
  }
  w.add_raw("x.nested", static_cast<uint32_t>(GgufType::array), nested);
  w.add("general.file_type", uint32_t{99});
  const Converted once = convert_files({{"a.gguf", w.build()}}, DType::q8_0);
  REQUIRE_MESSAGE(once.status.ok(), once.status.message());
  const Converted twice = convert_files({{"a.gguf", once.file}}, DType::q8_0);
  CHECK(once.file == twice.file);
  const auto header = parse_gguf(once.file, once.file.size());
  REQUIRE(header.ok());
  const GgufFile& file = **header;
  CHECK(file.find("x.f64")->type == GgufType::f64);
  CHECK(file.get_f32("x.f64").value() == 0.25f);
  CHECK(file.get_i64("x.i64").value() == -5000000000);
  CHECK(file.get_i64s("x.bools").value() == std::vector<int64_t>{1, 0});
  const GgufStrings strings = file.get_strings("x.words").value();
  for (size_t i = 0; i < words.size(); ++i) CHECK(strings[i] == words[i]);
  const std::span<const uint8_t> content = file.content(*file.find("x.nested"));
  CHECK(Bytes(content.begin(), content.end()) == Bytes(nested.begin() + 12, nested.end()));
  CHECK(file.get_u32("general.file_type").value() == 7);
}

TEST_CASE("quantize: bad input is refused by name") {
  SUBCASE("weights that are not finite, also in tensors that are kept") {
    for (const char* name : {"blk.1.ffn_up.weight", "blk.1.ffn_norm.weight"})
      for (const float value :
           {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        GgufWriter w = tiny_gguf();
        for (GgufWriter::Tensor& t : w.tensors)
          if (t.name == name) std::memcpy(t.data.data() + 8, &value, 4);
        const Converted out = convert_files({{"a.gguf", w.build()}}, DType::q8_0);
        CHECK(out.status.code() == ErrorCode::corrupt_file);
        CHECK(out.status.message().find(name) != std::string::npos);
      }
  }
  SUBCASE("a compressed file") {
    GgufWriter w = tiny_gguf();
    w.add("nutshell.version", uint32_t{1});
    const Converted out = convert_files({{"a.gguf", w.build()}}, DType::q8_0);
    CHECK(out.status.code() == ErrorCode::already_compressed);
    CHECK(out.file.empty());
  }
  SUBCASE("a format without encoder") {
    const Converted out = convert_files({{"a.gguf", tiny_gguf().build()}}, DType::iq4_xs);
    CHECK(out.status.code() == ErrorCode::invalid_argument);
    CHECK(out.file.empty());
  }
  SUBCASE("a disk that is full at any moment") {
    const std::vector<TestFile> files = {{"a.gguf", tiny_gguf().build()}};
    const uint64_t all = convert_files(files, DType::q4_0).report.bytes;
    ThreadPool pool(1);
    for (uint64_t room = 0; room < all; room += all / 7) {
      auto header = read_header(files);
      uint64_t written = 0;
      const auto report = convert(
          std::move(*header),
          [&](uint32_t, uint64_t offset, std::span<uint8_t> target) {
            std::memcpy(target.data(), files[0].bytes.data() + offset, target.size());
            return Status();
          },
          {DType::q4_0, false}, pool,
          [&](std::span<const uint8_t> bytes) {
            written += bytes.size();
            return written > room ? Status(ErrorCode::io_error, "no space") : Status();
          },
          {});
      CHECK(report.status().code() == ErrorCode::io_error);
    }
  }
}
