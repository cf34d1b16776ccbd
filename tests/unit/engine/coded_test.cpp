// Compressed files through the loader: they compute what their decoded weights compute, and every lie in
// their description is refused by name.
#include "engine/coded_tensors.h"

#include <doctest/doctest.h>

#include <cmath>

#include "engine/inspect.h"
#include "engine/loader.h"
#include "support/coded_gguf.h"
#include "support/tiny_gguf.h"

using namespace nutshell;
using namespace nutshell::test;

namespace {

Result<std::unique_ptr<Model>> load_bytes(ThreadPool& pool, const Bytes& bytes) {
  LoadOptions options;
  options.files = {{"coded.gguf", bytes.size()}};
  options.max_outputs = 8;
  Loader loader(pool, options);
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<ReadRequest> read, loader.next());
    if (!read) return loader.take();
    std::memcpy(read->target, bytes.data() + read->offset, read->length);
    RETURN_IF_ERROR(loader.commit());
  }
}

std::vector<float> all_logits(Model& model) {
  const int32_t tokens[] = {10, 72, 101, 108, 108, 111, 257, 33}, rows[] = {0, 1, 2, 3, 4, 5, 6, 7};
  REQUIRE(model.backend->run({tokens, 0, rows}).ok());
  std::vector<float> out;
  for (int64_t i = 0; i < 8; ++i)
    for (const float v : model.backend->logits(i)) out.push_back(v);
  const int32_t one[] = {65}, first[] = {0};
  REQUIRE(model.backend->run({one, 8, first}).ok());
  for (const float v : model.backend->logits(0)) out.push_back(v);
  return out;
}

// The entry of a key, replaced.
template <typename T>
void replace_array(GgufWriter& w, std::string_view key, const std::vector<T>& values) {
  Bytes name;
  put_string(name, key);
  std::erase_if(w.keys, [&](const Bytes& kv) {
    return kv.size() > name.size() && std::equal(name.begin(), name.end(), kv.begin());
  });
  w.add_array<T>(key, values);
}
void remove_key(GgufWriter& w, std::string_view key) {
  Bytes name;
  put_string(name, key);
  std::erase_if(w.keys, [&](const Bytes& kv) {
    return kv.size() > name.size() && std::equal(name.begin(), name.end(), kv.begin());
  });
}

}  // namespace

TEST_CASE("a compressed file computes what its decoded weights compute") {
  for (const auto& [threads, mixed] : {std::pair{1, false}, {3, false}, {1, true}, {3, true}}) {
    const CodedGguf files = code_gguf(tiny_gguf(), {}, mixed);
    ThreadPool pool(threads);
    auto coded = load_bytes(pool, files.coded.build());
    REQUIRE_MESSAGE(coded.ok(), coded.status().message());
    auto decoded = load_bytes(pool, files.decoded.build());
    REQUIRE_MESSAGE(decoded.ok(), decoded.status().message());
    const std::vector<float> got = all_logits(**coded), wanted = all_logits(**decoded);
    REQUIRE(got.size() == wanted.size());
    double error = 0, power = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      error += std::pow(static_cast<double>(got[i] - wanted[i]), 2);
      power += std::pow(static_cast<double>(wanted[i]), 2);
    }
    // The decoded file runs on f32 activations: 8-bit ones have a relative error of about 0.6 % per product
    // (largest of 32 / 254 / sqrt 3 against a deviation half of the largest), and there are 8 in sequence.
    INFO("relative error " << std::sqrt(error / power));
    CHECK(error / power < 8 * 0.006 * 0.006 * 2);
    CHECK(error / power > 0);
  }
}

TEST_CASE("inspect tells formats, true shapes and what was measured of a compressed file") {
  const Bytes bytes = code_gguf(tiny_gguf(), DType::nt3).coded.build();
  auto file = parse_gguf(bytes, bytes.size());
  REQUIRE(file.ok());
  const nlohmann::json answer = inspect(header_of(std::move(**file)));
  CHECK(answer["problems"] == nlohmann::json::array());
  CHECK(answer["formats"] == nlohmann::json{{"F32", 5}, {"NT3", 15}});
  CHECK(answer["tensors"][0]["shape"] == nlohmann::json{64, 258});
  CHECK(answer["tensors"][0]["format"] == "NT3");
  CHECK(answer["compression"] == nlohmann::json{{"quality.mean_kl", 0.125}, {"source.name", "tiny"}});
}

TEST_CASE("inspect shows a tensor whose rows differ in width as one") {
  const Bytes bytes = code_gguf(tiny_gguf(), DType::nt3, true).coded.build();
  auto file = parse_gguf(bytes, bytes.size());
  REQUIRE(file.ok());
  const nlohmann::json answer = inspect(header_of(std::move(**file)));
  CHECK(answer["problems"] == nlohmann::json::array());
  CHECK(answer["tensors"][0]["shape"] == nlohmann::json{64, 258});
  CHECK(answer["tensors"][0]["format"] == "NT4+NT2+NT3");
  CHECK(answer["formats"]["NT3"] == 14);
}

TEST_CASE("a compressed file's false description is refused") {
  const GgufWriter good = code_gguf(tiny_gguf(), DType::nt4).coded;
  ThreadPool pool(1);
  REQUIRE(load_bytes(pool, good.build()).ok());
  {
    GgufWriter sliced = good;  // what the lie below is one step from
    REQUIRE(sliced.tensors[3].dims[1] == 64);
    sliced.tensors[3].dims = {sliced.tensors[3].dims[0], 16, 4};
    CHECK(load_bytes(pool, sliced.build()).ok());
  }
  struct Lie {
    ErrorCode code;
    std::string_view part;
    void (*change)(GgufWriter&);
  };
  using W = GgufWriter;
  const Lie lies[] = {
      {ErrorCode::bad_version, "version 2",
       [](W& w) {
         remove_key(w, "nutshell.version");
         w.add("nutshell.version", uint32_t{2});
       }},
      {ErrorCode::missing_metadata, "nutshell.version", [](W& w) { remove_key(w, "nutshell.version"); }},
      {ErrorCode::missing_metadata, "nutshell.rotation.seed",
       [](W& w) { remove_key(w, "nutshell.rotation.seed"); }},
      {ErrorCode::missing_metadata, "nutshell.tables", [](W& w) { remove_key(w, "nutshell.tables"); }},
      {ErrorCode::corrupt_file, "table set",
       [](W& w) { replace_array<uint8_t>(w, "nutshell.tables", Bytes(39)); }},
      {ErrorCode::corrupt_file, "reserved bytes",
       [](W& w) { replace_array<uint8_t>(w, "nutshell.tables", Bytes(120, 32)); }},
      {ErrorCode::corrupt_file, "elements",
       [](W& w) { replace_array<float>(w, "nutshell.coded.scales", {1.0f}); }},
      {ErrorCode::corrupt_file, "outside the limits",
       [](W& w) { replace_array<float>(w, "nutshell.coded.scales", std::vector<float>(15, INFINITY)); }},
      {ErrorCode::bad_shape, "multiples of 32",
       [](W& w) { replace_array<uint32_t>(w, "nutshell.coded.columns", std::vector<uint32_t>(15, 33)); }},
      {ErrorCode::bad_shape, "do not hold",
       [](W& w) {
         replace_array<uint32_t>(w, "nutshell.coded.columns", std::vector<uint32_t>(15, 1u << 30));
       }},
      {ErrorCode::bad_shape, "0 x 64",
       [](W& w) { replace_array<uint32_t>(w, "nutshell.coded.rows", std::vector<uint32_t>(15, 0)); }},
      // Several matrices: not of whole superrows, and more rows than there are.
      {ErrorCode::bad_shape, "do not hold",
       [](W& w) {
         w.tensors[3].dims = {w.tensors[3].dims[0], 8, 8};
       }},
      {ErrorCode::bad_shape, "do not hold",
       [](W& w) {
         w.tensors[0].dims = {w.tensors[0].dims[0], 16, 17};
       }},
      {ErrorCode::unsupported_format, "NT9",
       [](W& w) {
         remove_key(w, "nutshell.coded.formats");
         w.add_strings("nutshell.coded.formats", std::vector<std::string>(15, "NT9"));
       }},
      {ErrorCode::missing_tensor, "nowhere",
       [](W& w) {
         remove_key(w, "nutshell.coded.names");
         w.add_strings("nutshell.coded.names", std::vector<std::string>(15, "nowhere"));
       }},
      {ErrorCode::corrupt_file, "not a finite number", [](W& w) { w.tensors[0].data[1] = 0x7c; }},
  };
  const auto refuse = [&](GgufWriter w, const Lie& lie) {
    lie.change(w);
    const auto loaded = load_bytes(pool, w.build());
    REQUIRE_FALSE(loaded.ok());
    INFO(loaded.status().message());
    CHECK(loaded.status().code() == lie.code);
    CHECK(loaded.status().message().find(lie.part) != std::string::npos);
  };
  for (const Lie& lie : lies) refuse(good, lie);

  const GgufWriter mixed = code_gguf(tiny_gguf(), DType::nt4, true).coded;  // runs of 32, 16 and 210 rows
  REQUIRE(load_bytes(pool, mixed.build()).ok());
  const Lie mixed_lies[] = {
      {ErrorCode::corrupt_file, "each of 258 rows once",
       [](W& w) {
         replace_array<uint32_t>(w, "nutshell.order.token_embd.weight", std::vector<uint32_t>(258));
       }},
      {ErrorCode::corrupt_file, "each of 258 rows once",
       [](W& w) {
         replace_array<uint32_t>(w, "nutshell.order.token_embd.weight", {0, 1, 2});
       }},
      {ErrorCode::corrupt_file, "each of 258 rows once",
       [](W& w) {
         std::vector<uint32_t> order = mixed_order(258);
         order[7] = 258;
         replace_array(w, "nutshell.order.token_embd.weight", order);
       }},
      {ErrorCode::bad_shape, "do not hold",
       [](W& w) { w.tensors[0].data.resize(w.tensors[0].dims[0] -= 32); }},
      {ErrorCode::bad_shape, "do not fit each other",
       [](W& w) {
         std::vector<uint32_t> rows(17, 64);
         rows[0] = 33;
         replace_array(w, "nutshell.coded.rows", rows);
       }},
  };
  for (const Lie& lie : mixed_lies) refuse(mixed, lie);
}
