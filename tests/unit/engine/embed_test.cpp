// Embeddings of a tiny BERT: pooling, length, cutting, and what the files of sentence-transformers say of
// them, against the tokens' vectors that the back end gives; and who is asked for the wrong thing says so.
#include "engine/embed.h"

#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

#include "engine/inspect.h"
#include "engine/quality.h"
#include "support/engine_calls.h"
#include "support/tiny_bert.h"

using namespace nutshell;
using namespace nutshell::test;
using nlohmann::json;

namespace {

constexpr const char* kText = "ab c";
const std::vector<int32_t> kIds = {2, 5, 32, 7, 3};  // [CLS] a ##b c [SEP]

std::unique_ptr<Model> load_or_fail(ThreadPool& pool, const std::vector<TestFile>& files) {
  auto model = load_files(pool, files);
  REQUIRE_MESSAGE(model.ok(), model.status().message());
  return std::move(*model);
}

TextEmbedding embed_or_fail(Model& model, std::string_view text) {
  const auto e = embed_text(model, text);
  REQUIRE_MESSAGE(e.ok(), e.status().message());
  return *e;
}

// The vectors of the tokens.
std::vector<std::vector<double>> token_vectors(Model& model, const std::vector<int32_t>& ids) {
  std::vector<int32_t> rows(ids.size());
  std::iota(rows.begin(), rows.end(), 0);
  REQUIRE(model.backend->run({ids, 0, rows}).ok());
  std::vector<std::vector<double>> out;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto row = model.backend->logits(static_cast<int64_t>(i));
    out.emplace_back(row.begin(), row.end());
  }
  return out;
}

std::vector<double> mean_of(const std::vector<std::vector<double>>& vectors) {
  std::vector<double> out(vectors[0].size());
  for (const auto& v : vectors)
    for (size_t i = 0; i < out.size(); ++i) out[i] += v[i] / static_cast<double>(vectors.size());
  return out;
}

std::vector<double> with_length_one(std::vector<double> v) {
  double squares = 0;
  for (const double x : v) squares += x * x;
  for (double& x : v) x /= std::sqrt(squares);
  return v;
}

// Values that were rounded to f32 once.
void check_equal(const std::vector<float>& got, const std::vector<double>& want) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i)
    CHECK(std::fabs(got[i] - want[i]) <= std::fabs(want[i]) * 1.2e-7 + 1e-12);
}

const json kMeanPooling = {{"pooling_mode_mean_tokens", true}, {"pooling_mode_cls_token", false}};
const json kFirstPooling = {{"pooling_mode_mean_tokens", false}, {"pooling_mode_cls_token", true}};

}  // namespace

TEST_CASE(
    "an embedding is the mean of the tokens' vectors made one of length 1, from GGUF and from a folder") {
  ThreadPool pool(2);
  const auto model = load_or_fail(pool, {{"a.gguf", bert_gguf().build()}});
  const auto vectors = token_vectors(*model, kIds);
  const TextEmbedding e = embed_or_fail(*model, kText);
  CHECK(e.n_tokens == 5);
  CHECK_FALSE(e.truncated);
  check_equal(e.values, with_length_one(mean_of(vectors)));
  const auto folder = load_or_fail(pool, bert_folder());
  CHECK(folder->info.architecture == "bert");
  CHECK(embed_or_fail(*folder, kText).values == e.values);
  // One text leaves nothing behind for the next.
  const TextEmbedding other = embed_or_fail(*model, "zz zz zz");
  CHECK(embed_or_fail(*model, kText).values == e.values);
  CHECK(other.values != e.values);
  // No text is [CLS] [SEP]; the kinds of white space are one.
  CHECK(embed_or_fail(*model, "").n_tokens == 2);
  CHECK(embed_or_fail(*model, " \t\n").values == embed_or_fail(*model, "").values);
  CHECK(embed_or_fail(*model, "AB\nC").values == e.values);
  CHECK(embed_or_fail(*model, "[MASK]").n_tokens == 3);
}

TEST_CASE("pooling and length are those the file asks for") {
  ThreadPool pool(1);
  GgufWriter w = bert_gguf();
  w.add("bert.pooling_type", uint32_t{2});
  const auto first = load_or_fail(pool, {{"a.gguf", w.build()}});
  const auto vectors = token_vectors(*first, kIds);
  check_equal(embed_or_fail(*first, kText).values, with_length_one(vectors[0]));

  const auto folder = [&](const json& pooling, const std::vector<std::string>& modules) {
    const auto model = load_or_fail(pool, sentence_folder(pooling, modules));
    return embed_or_fail(*model, kText).values;
  };
  check_equal(folder(kFirstPooling, {"Transformer", "Pooling", "Normalize"}), with_length_one(vectors[0]));
  check_equal(folder(kMeanPooling, {"Transformer", "Pooling", "Normalize"}),
              with_length_one(mean_of(vectors)));
  check_equal(folder(kMeanPooling, {"Transformer", "Pooling"}), mean_of(vectors));
  check_equal(folder(kFirstPooling, {"Transformer", "Pooling"}), vectors[0]);
  check_equal(folder({{"pooling_mode", "cls"}}, {"Transformer", "Pooling"}), vectors[0]);
}

TEST_CASE("a text longer than the model reads is cut, and its last token stays") {
  ThreadPool pool(1);
  const auto model = load_or_fail(pool, bert_folder());
  std::string letters(100, 'a');
  for (size_t i = 1; i < letters.size(); i += 2) letters[i] = ' ';  // "a a a ...", 50 tokens
  const TextEmbedding cut = embed_or_fail(*model, letters);
  CHECK(cut.truncated);
  CHECK(cut.n_tokens == kBertContext);
  const TextEmbedding fits = embed_or_fail(*model, letters.substr(0, 2 * (kBertContext - 2)));
  CHECK_FALSE(fits.truncated);
  CHECK(cut.values == fits.values);
  // sentence-transformers knows a limit of its own.
  auto files = sentence_folder(kMeanPooling, {"Transformer", "Pooling", "Normalize"});
  files.push_back(
      {"sentence_bert_config.json", bytes_of(R"({"max_seq_length": 7, "do_lower_case": false})")});
  const auto shorter = load_or_fail(pool, files);
  const TextEmbedding seven = embed_or_fail(*shorter, letters);
  CHECK(seven.truncated);
  CHECK(seven.n_tokens == 7);
  CHECK(seven.values == embed_or_fail(*model, "a a a a a").values);
  files.back().bytes = bytes_of(R"({"max_seq_length": 2})");
  const auto none = load_or_fail(pool, files);
  CHECK(embed_text(*none, "a").status().code() == ErrorCode::context_full);
}

TEST_CASE("who is asked for the wrong thing says what to do") {
  Engine engine(1);
  CHECK(engine.embed({{"text", "a"}}).status().code() == ErrorCode::no_model);
  REQUIRE(load(engine, bert_gguf().build()).is_null());
  CHECK((*engine.info())["model"]["embeddingSize"] == kBertEmbd);
  const json reply = *engine.embed({{"text", kText}});
  CHECK(reply["embedding"].size() == kBertEmbd);
  CHECK(reply["tokens"] == 5);
  CHECK(reply["truncated"] == false);
  CHECK(engine.embed(json::object()).status().code() == ErrorCode::invalid_argument);
  CHECK(engine.embed({{"text", 3}}).status().code() == ErrorCode::invalid_argument);
  CHECK(engine.embed(json::array()).status().code() == ErrorCode::invalid_argument);
  const Status chat = engine.generate_begin({{"ids", {2, 5, 3}}}).status();
  CHECK(chat.code() == ErrorCode::no_generation);
  CHECK(std::string(error_advice(chat.code())).find("embed") != std::string::npos);
  CHECK((*engine.embed({{"text", kText}}))["embedding"] == reply["embedding"]);

  REQUIRE(load(engine, tiny_gguf().build()).is_null());
  CHECK((*engine.info())["model"]["embeddingSize"] == 0);
  const Status vector = engine.embed({{"text", "a"}}).status();
  CHECK(vector.code() == ErrorCode::no_embeddings);
  CHECK(std::string(error_advice(vector.code())).find("MiniLM") != std::string::npos);
  CHECK(engine.generate_begin({{"ids", {1, 2, 3}}}).ok());

  ThreadPool pool(1);
  const auto model = load_or_fail(pool, bert_folder());
  CHECK(measure_quality(*model, nullptr, kIds, 5, pool).status().code() == ErrorCode::no_generation);
}

TEST_CASE("inspect plans as much memory for an embedding model as loading takes") {
  ThreadPool pool(1);
  const std::vector<TestFile> files = {{"a.gguf", bert_gguf().build()}};
  const auto header = read_header(files);
  REQUIRE(header.ok());
  const json answer = inspect(*header);
  CHECK(answer["problems"] == json::array());
  CHECK(answer["memory"]["total_bytes"] == load_or_fail(pool, files)->needs.total());
}

TEST_CASE("embedding models that would need a guess are refused and say why") {
  const auto modules = [](const std::vector<std::string>& names) {
    return sentence_folder(kMeanPooling, names);
  };
  const auto pooling = [](const json& config) {
    return sentence_folder(config, {"Transformer", "Pooling", "Normalize"});
  };
  check_refused(modules({"Transformer", "Pooling", "Dense"}), ErrorCode::unsupported_architecture,
                {"Dense", "Normalize"});
  check_refused(modules({"Transformer"}), ErrorCode::unsupported_architecture, {"modules.json", "Pooling"});
  check_refused(pooling({{"pooling_mode_max_tokens", true}}), ErrorCode::unsupported_architecture,
                {"1_Pooling/config.json", "max", "cls"});
  check_refused(pooling({{"pooling_mode_cls_token", true}, {"pooling_mode_mean_tokens", true}}),
                ErrorCode::unsupported_architecture, {"cls and mean"});
  check_refused(pooling({{"pooling_mode", "lasttoken"}}), ErrorCode::unsupported_architecture, {"lasttoken"});
  check_refused(pooling({{"pooling_mode_cls_token", "yes"}}), ErrorCode::corrupt_file, {"pooling_mode_cls"});
  auto files = pooling(kMeanPooling);
  files.pop_back();
  check_refused(files, ErrorCode::missing_part, {"1_Pooling/config.json"});
  files.back().bytes = bytes_of("{}");
  check_refused(files, ErrorCode::corrupt_file, {"modules.json", "list"});
  files.back().bytes = bytes_of(R"([{"type": "x.Pooling"}])");
  check_refused(files, ErrorCode::corrupt_file, {"modules.json", "path"});
  files.back().bytes = bytes_of("[1, 2");
  check_refused(files, ErrorCode::corrupt_file, {"modules.json"});
  files = pooling(kMeanPooling);
  files.push_back({"sentence_bert_config.json", bytes_of(R"({"max_seq_length": 0})")});
  check_refused(files, ErrorCode::corrupt_file, {"max_seq_length"});
  // A language model with the files of an embedding model.
  files = tiny_folder("LlamaForCausalLM", tiny_tensors("llama", DType::f32));
  for (const TestFile& file : pooling(kMeanPooling))
    if (file.name == "modules.json" || file.name.starts_with("1_")) files.push_back(file);
  check_refused(files, ErrorCode::unsupported_architecture, {"llama", "bert"});

  const auto config = [](const char* key, const json& value) {
    std::vector<TestFile> all = bert_folder();
    json changed = bert_config();
    changed[key] = value;
    all[0].bytes = bytes_of(changed.dump());
    return all;
  };
  check_refused(config("position_embedding_type", "relative_key"), ErrorCode::unsupported_architecture,
                {"relative_key", "absolute"});
  check_refused(config("hidden_act", "relu"), ErrorCode::unsupported_architecture, {"relu", "gelu"});
  GgufWriter w = bert_gguf();
  w.add("bert.pooling_type", uint32_t{3});
  check_refused({{"a.gguf", w.build()}}, ErrorCode::unsupported_architecture, {"pooling type 3", "mean"});
}
