#include "engine/inspect.h"

#include <doctest/doctest.h>

#include "support/loading.h"
#include "support/tiny_gguf.h"

using namespace nutshell;
using namespace nutshell::test;
using nlohmann::json;

namespace {

json inspect_bytes(const Bytes& bytes) {
  auto result = parse_gguf(bytes, bytes.size());
  REQUIRE_MESSAGE(result.ok(), result.status().message());
  REQUIRE(result->has_value());
  return inspect(header_of(std::move(**result)));
}

template <typename Change>
json inspect_changed(Change change) {
  GgufWriter w = tiny_gguf();
  change(w);
  return inspect_bytes(w.build());
}

// One problem, which names all parts.
void check_problem(const json& answer, std::initializer_list<std::string_view> parts) {
  INFO(answer["problems"].dump());
  REQUIRE(answer["problems"].size() == 1);
  for (const std::string_view part : parts)
    CHECK(answer["problems"][0].get<std::string>().find(part) != std::string::npos);
}

GgufWriter::Tensor& tensor(GgufWriter& w, std::string_view name) {
  for (GgufWriter::Tensor& t : w.tensors)
    if (t.name == name) return t;
  FAIL("no such tensor");
  return w.tensors[0];
}

}  // namespace

TEST_CASE("inspect: a file that can be run") {
  const json answer = inspect_bytes(tiny_gguf().build());
  CHECK(answer["architecture"] == "llama");
  // embedding 64 x 258; per layer q, o 64 x 64, k, v 64 x 32, three of 64 x 96, two norms of 64; last norm
  const uint64_t layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64;
  CHECK(answer["parameters"] == 64 * 258 + 2 * layer + 64);
  CHECK(answer["bits_per_weight"] == 32.0);
  CHECK(answer["formats"] == json{{"F32", 20}});
  REQUIRE(answer["tensors"].size() == 20);
  CHECK(
      answer["tensors"][0] ==
      json{{"name", "token_embd.weight"}, {"shape", {64, 258}}, {"format", "F32"}, {"bytes", 64 * 258 * 4}});
  CHECK(answer["tokenizer"] == json{{"model", "gpt2"}, {"pre", "smollm"}, {"vocabulary", 258}});
  CHECK(answer["problems"] == json::array());
  // As much as loading says it takes.
  ThreadPool pool(1);
  std::vector<TestFile> files = {{"tiny.gguf", tiny_gguf().build()}};
  LoadOptions options = load_options(files);
  options.context_size = 0;
  Loader loader(pool, options);
  REQUIRE(feed(loader, files).ok());
  CHECK(answer["memory"]["total_bytes"] == loader.take()->needs.total());
  CHECK(answer["memory"]["context"] == 512);
}

TEST_CASE("inspect: what is not supported is a problem, not a failure") {
  check_problem(inspect_changed([](GgufWriter& w) { w.keys[0].back() = 'x'; }), {"llamx"});
  const json formats = inspect_changed([](GgufWriter& w) {
    w.add_tensor("x", {256, 2}, DType::f32, Bytes(132, 0)).type = 16;
    w.add_tensor("y", {256, 4}, DType::f32, Bytes(264, 0)).type = 16;
  });
  check_problem(formats, {"'x'", "IQ2_XXS", "1 more"});
  CHECK(formats["formats"] == json{{"F32", 20}, {"IQ2_XXS", 2}});
  check_problem(inspect_changed([](GgufWriter& w) { w.tensors.pop_back(); }), {"output_norm.weight"});
  check_problem(inspect_changed([](GgufWriter& w) {
                  tensor(w, "blk.1.ffn_up.weight").dims = {96, 64};
                }),
                {"blk.1.ffn_up.weight", "64", "96"});
  check_problem(inspect_changed([](GgufWriter& w) { w.tensors.clear(); }), {"no tensors"});
  // The vocabulary is one longer than the embedding.
  check_problem(inspect_changed([](GgufWriter& w) {
                  GgufWriter::Tensor& t = tensor(w, "token_embd.weight");
                  t.dims[1] = 257;
                  t.data.resize(64 * 257 * 4);
                }),
                {"257", "258"});
}

TEST_CASE("inspect: weights of an unsupported format are named once, by format") {
  const json answer = inspect_changed([](GgufWriter& w) {
    for (const char* name : {"blk.0.ffn_up.weight", "blk.1.ffn_up.weight"}) tensor(w, name).type = 28;  // F64
    for (const char* name : {"blk.0.ffn_up.weight", "blk.1.ffn_up.weight"})
      tensor(w, name).data.resize(64 * 96 * 8);
  });
  check_problem(answer, {"'blk.0.ffn_up.weight'", "F64", "1 more"});
}

TEST_CASE("inspect: an empty header answers nulls and says what is missing") {
  const json answer = inspect_bytes(GgufWriter().build());
  CHECK(answer["architecture"].is_null());
  CHECK(answer["parameters"] == 0);
  CHECK(answer["bits_per_weight"].is_null());
  CHECK(answer["memory"].is_null());
  CHECK(answer["tensors"] == json::array());
  CHECK(answer["formats"] == json::object());
  CHECK(answer["tokenizer"] == json{{"model", nullptr}, {"pre", nullptr}, {"vocabulary", 0}});
  CHECK(answer["problems"].size() == 2);
}
