// The engine through the calls JavaScript makes, on a tiny model: loading, generating, stopping, refusing.
#include "engine/engine.h"

#include <doctest/doctest.h>

#include "support/engine_calls.h"
#include "support/tiny_gguf.h"

using namespace nutshell;
using nlohmann::json;
using test::Bytes;
using test::load;

namespace {

std::vector<int32_t> ids_of(Engine& engine, const std::string& text) {
  auto reply = engine.tokenize({{"text", text}});
  REQUIRE(reply.ok());
  return (*reply)["ids"].get<std::vector<int32_t>>();
}

struct Generated {
  std::vector<int32_t> ids;
  std::string text;
  json finish, timings;
  int prefill_steps = 0;
};

Generated generate(Engine& engine, json options) {
  if (!options.contains("temperature")) options["temperature"] = 0;
  const auto begun = engine.generate_begin(options);
  REQUIRE_MESSAGE(begun.ok(), begun.status().message());
  Generated g;
  while (g.finish.is_null()) {
    const auto step = engine.generate_step();
    REQUIRE_MESSAGE(step.ok(), step.status().message());
    const std::string state = (*step)["state"];
    if (state == "prefill") {
      ++g.prefill_steps;
      continue;
    }
    g.text += (*step)["text"].get<std::string>();
    if (state == "token") g.ids.push_back((*step)["id"]);
    g.finish = (*step)["finish"];
  }
  g.timings = (*engine.generate_end())["timings"];
  return g;
}

}  // namespace

TEST_CASE("a model loads, tells of itself, and every call before that says no_model") {
  Engine engine(2);
  CHECK(engine.info().status().code() == ErrorCode::no_model);
  CHECK(engine.generate_step().status().code() == ErrorCode::no_model);
  CHECK(engine.tokenize({{"text", "a"}}).status().code() == ErrorCode::no_model);
  REQUIRE(load(engine, test::tiny_gguf().build()).is_null());
  const json info = *engine.info();
  CHECK(info["model"]["architecture"] == "llama");
  CHECK(info["model"]["name"] == "tiny");
  CHECK(info["model"]["contextLength"] == 512);
  CHECK(info["contextSize"] == 512);
  CHECK(info["tokens"]["eos"]["text"] == "<|im_end|>");
  CHECK(info["chatTemplate"] == "{{ messages[0]['content'] }}");
  CHECK(info["memoryBytes"].get<uint64_t>() > 0);
}

TEST_CASE("text survives the way to ids and back") {
  Engine engine(1);
  REQUIRE(load(engine, test::tiny_gguf().build()).is_null());
  const std::string text = "caf\xc3\xa9 <|im_start|> \xf0\x9f\x8c\xb0";
  const auto ids = ids_of(engine, text);
  CHECK(std::count(ids.begin(), ids.end(), 256) == 1);
  CHECK((*engine.detokenize({{"ids", ids}}))["text"] == text);
}

TEST_CASE("greedy generation repeats itself, and a reused prefix changes nothing") {
  Engine engine(2);
  REQUIRE(load(engine, test::tiny_gguf().build()).is_null());
  auto ids = ids_of(engine, std::string(150, 'a') + "once upon a time");
  const Generated first =
      generate(engine, {{"ids", ids}, {"maxTokens", 12}, {"ignoreEnd", true}, {"cachePrompt", false}});
  CHECK(first.ids.size() == 12);
  CHECK(first.finish == "length");
  CHECK(first.prefill_steps == 2);  // 166 tokens in chunks of 128
  CHECK(first.timings["promptTokens"] == 166);
  CHECK(first.timings["cachedTokens"] == 0);
  CHECK(first.timings["tokens"] == 12);
  // The whole prompt is in the cache: only its last token is computed again.
  const Generated again = generate(engine, {{"ids", ids}, {"maxTokens", 12}, {"ignoreEnd", true}});
  CHECK(again.timings["cachedTokens"] == 165);
  CHECK(again.ids == first.ids);
  // A second turn: the old prompt and answer are the prefix.
  ids.insert(ids.end(), first.ids.begin(), first.ids.end());
  const auto more = ids_of(engine, " and then");
  ids.insert(ids.end(), more.begin(), more.end());
  const Generated second = generate(engine, {{"ids", ids}, {"maxTokens", 5}, {"ignoreEnd", true}});
  CHECK(second.timings["cachedTokens"] == 166 + 11);  // the last generated token was never computed
  const Generated fresh =
      generate(engine, {{"ids", ids}, {"maxTokens", 5}, {"ignoreEnd", true}, {"cachePrompt", false}});
  CHECK(fresh.timings["cachedTokens"] == 0);
  CHECK(second.ids == fresh.ids);
}

TEST_CASE("stopping early leaves the engine usable") {
  Engine engine(1);
  REQUIRE(load(engine, test::tiny_gguf().build()).is_null());
  const auto ids = ids_of(engine, "stop me");
  REQUIRE(engine.generate_begin({{"ids", ids}, {"temperature", 0}, {"ignoreEnd", true}}).ok());
  REQUIRE(engine.generate_step().ok());
  REQUIRE(engine.generate_step().ok());
  REQUIRE(engine.generate_end().ok());
  const Generated after = generate(engine, {{"ids", ids}, {"maxTokens", 3}, {"ignoreEnd", true}});
  CHECK(after.ids.size() == 3);
}

TEST_CASE("generation ends at the context's end, at no tokens, and at a stop text") {
  Engine engine(1);
  REQUIRE(load(engine, test::tiny_gguf().build(), {{"contextSize", 32}}).is_null());
  const auto ids = ids_of(engine, "0123456789");
  const Generated whole = generate(engine, {{"ids", ids}, {"ignoreEnd", true}});
  CHECK(whole.finish == "length");
  CHECK(whole.ids.size() == 23);  // 10 + 23: the last one needs no place of its own
  const Generated none = generate(engine, {{"ids", ids}, {"maxTokens", 0}});
  CHECK(none.ids.empty());
  CHECK(none.finish == "length");
  // Bias the model towards "x", then stop at "xx".
  const json bias = {{std::to_string('x'), 1000.0}};
  const Generated stopped =
      generate(engine, {{"ids", ids}, {"logitBias", bias}, {"stop", "xx"}, {"maxTokens", 9}});
  CHECK(stopped.finish == "stop");
  CHECK(stopped.text.empty());
  CHECK(stopped.ids.size() == 2);
  const Generated unstopped =
      generate(engine, {{"ids", ids}, {"logitBias", bias}, {"stop", {"xxxxx"}}, {"maxTokens", 4}});
  CHECK(unstopped.text == "xxxx");  // held back at first, given at the end
}

TEST_CASE("the end-of-turn token ends the answer unless it is ignored") {
  Engine engine(1);
  REQUIRE(load(engine, test::tiny_gguf().build()).is_null());
  const auto ids = ids_of(engine, "abc");
  const json bias = {{"257", 1000.0}};
  const Generated ended = generate(engine, {{"ids", ids}, {"logitBias", bias}, {"maxTokens", 4}});
  CHECK(ended.finish == "stop");
  CHECK(ended.ids.empty());
  const Generated ignored =
      generate(engine, {{"ids", ids}, {"logitBias", bias}, {"maxTokens", 4}, {"ignoreEnd", true}});
  CHECK(ignored.ids == std::vector<int32_t>(4, 257));
}

TEST_CASE("log-probabilities come on request and are those of the softmax") {
  Engine engine(1);
  REQUIRE(load(engine, test::tiny_gguf().build()).is_null());
  REQUIRE(
      engine.generate_begin({{"ids", ids_of(engine, "abc")}, {"temperature", 0}, {"logprobs", true}}).ok());
  REQUIRE((*engine.generate_step())["state"] == "prefill");
  const json step = *engine.generate_step();
  REQUIRE(step.contains("logprob"));
  CHECK(step["logprob"].get<double>() < 0);
  CHECK(step["logprob"].get<double>() > -5.6);  // the likeliest of 258 is above the average
}

TEST_CASE("wrong options are refused by name and leave the engine as it was") {
  Engine engine(1);
  REQUIRE(load(engine, test::tiny_gguf().build(), {{"contextSize", 32}}).is_null());
  const json good = ids_of(engine, "abc");
  struct Case {
    json options;
    ErrorCode code;
    const char* names;
  };
  const Case cases[] = {
      {{{"ids", json::array()}}, ErrorCode::invalid_argument, "empty"},
      {{{"ids", {5, 258}}}, ErrorCode::invalid_argument, "258"},
      {{{"ids", {-1}}}, ErrorCode::invalid_argument, "-1"},
      {{{"ids", {1.5}}}, ErrorCode::invalid_argument, "ids"},
      {{{"ids", "text"}}, ErrorCode::invalid_argument, "ids"},
      {{{"ids", std::vector<int>(32, 65)}}, ErrorCode::context_full, "32"},
      {{{"ids", good}, {"temprature", 1}}, ErrorCode::invalid_argument, "temprature"},
      {{{"ids", good}, {"temperature", -1}}, ErrorCode::invalid_argument, "temperature"},
      {{{"ids", good}, {"temperature", "hot"}}, ErrorCode::invalid_argument, "temperature"},
      {{{"ids", good}, {"topP", 0}}, ErrorCode::invalid_argument, "top"},
      {{{"ids", good}, {"maxTokens", 1e300}}, ErrorCode::invalid_argument, "maxTokens"},
      {{{"ids", good}, {"stop", {""}}}, ErrorCode::invalid_argument, "stop"},
      {{{"ids", good}, {"stop", {1}}}, ErrorCode::invalid_argument, "stop"},
      {{{"ids", good}, {"logitBias", {{"x", 1}}}}, ErrorCode::invalid_argument, "logitBias"},
      {json::array(), ErrorCode::invalid_argument, "object"},
  };
  for (const Case& c : cases) {
    const auto reply = engine.generate_begin(c.options);
    CAPTURE(c.options.dump());
    REQUIRE_FALSE(reply.ok());
    CHECK(reply.status().code() == c.code);
    CHECK(reply.status().message().find(c.names) != std::string::npos);
  }
  CHECK(generate(engine, {{"ids", good}, {"maxTokens", 2}, {"ignoreEnd", true}}).ids.size() == 2);
}

TEST_CASE("files that are not this model are refused with their own code, and the loaded model stays") {
  Engine engine(1);
  REQUIRE(load(engine, test::tiny_gguf().build()).is_null());
  const auto ids = ids_of(engine, "still here");
  const Generated before = generate(engine, {{"ids", ids}, {"maxTokens", 4}, {"ignoreEnd", true}});

  auto refuse = [&](const Bytes& file, const char* code, const char* names, json options = json::object(),
                    uint64_t available = 0) {
    const json error = load(engine, file, std::move(options), available);
    CAPTURE(error.dump());
    REQUIRE_FALSE(error.is_null());
    CHECK(error["code"] == code);
    CHECK(error["message"].get<std::string>().find(names) != std::string::npos);
    CHECK_FALSE(error["advice"].get<std::string>().empty());
  };
  refuse({}, "truncated", "empty");
  refuse(Bytes(1000, 'x'), "bad_magic", "");
  Bytes cut = test::tiny_gguf().build();
  cut.resize(cut.size() / 2);
  refuse(cut, "truncated", "");

  test::GgufWriter w = test::tiny_gguf();
  w.tensors.erase(w.tensors.begin() + 3);
  refuse(w.build(), "missing_tensor", "blk.0.attn_q.weight");
  w = test::tiny_gguf();
  w.tensors[3].dims = {32, 128};
  refuse(w.build(), "bad_shape", "128 x 32");
  w = test::tiny_gguf();
  w.tensors[3].type = 19;  // IQ1_S, in blocks of 256
  w.tensors[3].dims = {256, 16};
  w.tensors[3].data.resize(10000);
  refuse(w.build(), "unsupported_format", "blk.0.attn_q.weight");
  w = test::tiny_gguf();
  w.keys.erase(w.keys.begin());
  w.add("general.architecture", "mamba");
  refuse(w.build(), "unsupported_architecture", "llama");
  w = test::tiny_gguf();
  w.keys.erase(w.keys.begin() + 2);
  refuse(w.build(), "missing_metadata", "block_count");
  w = test::tiny_gguf();
  w.add("llama.rope.scaling.type", "dynamic");
  refuse(w.build(), "unsupported_architecture", "'dynamic' is not supported; supported: none, linear");
  w = test::tiny_gguf();
  w.add("llama.rope.scaling.type", "longrope");
  refuse(w.build(), "missing_tensor", "rope_factors_short.weight");
  w.add_tensor("rope_factors_short.weight", {7}, DType::f32, Bytes(28));
  refuse(w.build(), "bad_shape", "'rope_factors_short.weight' has 7 values, expected 8");
  w = test::tiny_gguf();
  w.add("llama.rope.dimension_count", uint32_t{7});
  refuse(w.build(), "corrupt_file", "odd");
  refuse(test::tiny_gguf().build(), "invalid_argument", "512", {{"contextSize", 4096}});
  refuse(test::tiny_gguf().build(), "out_of_memory", "available: 100000 bytes", {{"memoryLimit", 100000}});
  refuse(test::tiny_gguf().build(), "out_of_memory", "needs", json::object(), 200000);

  const Generated after = generate(engine, {{"ids", ids}, {"maxTokens", 4}, {"ignoreEnd", true}});
  CHECK(after.ids == before.ids);
}

TEST_CASE("a refusal for want of memory says which context would fit") {
  Engine engine(1);
  const Bytes file = test::tiny_gguf({.n_ctx = 65536}).build();
  const json error = load(engine, file, {{"contextSize", 65536}, {"memoryLimit", 12000000}});
  REQUIRE_FALSE(error.is_null());
  CHECK(error["code"] == "out_of_memory");
  const std::string message = error["message"];
  const size_t at = message.find("a context of ");
  REQUIRE(at != std::string::npos);
  const int64_t fits = std::stoll(message.substr(at + 13));
  CHECK(load(engine, file, {{"contextSize", fits}, {"memoryLimit", 12000000}}).is_null());
  CHECK_FALSE(load(engine, file, {{"contextSize", fits + 512}, {"memoryLimit", 12000000}}).is_null());
}

TEST_CASE("drafts change how an answer comes, not what it is") {
  Engine engine(2);
  REQUIRE(load(engine, test::tiny_gguf().build()).is_null());
  std::string text;
  for (int i = 0; i < 6; ++i) text += "the same line again and again\n";
  const auto ids = ids_of(engine, text);
  int64_t accepted = 0;
  for (double temperature : {0.0, 0.3, 1.0}) {
    json options = {{"ids", ids},           {"maxTokens", 120}, {"ignoreEnd", true},
                    {"cachePrompt", false}, {"seed", 7},        {"temperature", temperature}};
    options["draftTokens"] = 0;
    const Generated plain = generate(engine, options);
    CHECK(plain.timings["draftedTokens"] == 0);
    options["draftTokens"] = 3;
    const Generated drafted = generate(engine, options);
    CHECK(drafted.ids == plain.ids);
    CHECK(drafted.text == plain.text);
    CHECK(drafted.timings["draftedTokens"].get<int64_t>() >=
          drafted.timings["acceptedTokens"].get<int64_t>());
    accepted += drafted.timings["acceptedTokens"].get<int64_t>();
  }
  CHECK(accepted > 0);
  CHECK(engine.generate_begin({{"ids", ids}, {"draftTokens", 17}}).status().code() ==
        ErrorCode::invalid_argument);
}
