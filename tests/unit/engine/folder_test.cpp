// Hugging Face folders: the logits of the same model as GGUF bit for bit, and every way a folder can be
// wrong.
#include <doctest/doctest.h>

#include "engine/inspect.h"
#include "support/sentencepiece_model.h"
#include "support/tiny_bert.h"
#include "support/tiny_folder.h"
#include "text/sentencepiece.h"

using namespace nutshell;
using namespace nutshell::test;
using nlohmann::json;

namespace {

const std::vector<int32_t> kTokens = {1, 2, 3, 200, 7, 256};

TestFile& file_of(std::vector<TestFile>& files, std::string_view name) {
  for (TestFile& file : files)
    if (file.name == name) return file;
  FAIL("no such file");
  return files[0];
}

std::vector<TestFile> folder() { return tiny_folder("LlamaForCausalLM", tiny_tensors("llama", DType::f32)); }

template <typename Change>
std::vector<TestFile> with_json(const char* name, Change change) {
  std::vector<TestFile> files = folder();
  TestFile& file = file_of(files, name);
  json value = json::parse(std::string(file.bytes.begin(), file.bytes.end()), nullptr, false);
  change(value);
  file.bytes = bytes_of(value.dump());
  return files;
}

std::vector<TestFile> with_bytes(const char* name, Bytes bytes) {
  std::vector<TestFile> files = folder();
  file_of(files, name).bytes = std::move(bytes);
  return files;
}

}  // namespace

TEST_CASE("a folder gives the logits of the same model as GGUF, bit for bit, in fp32, fp16 and bf16") {
  ThreadPool pool(1);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const auto& [architecture, cls] :
         {std::pair{"qwen2", "Qwen2ForCausalLM"}, std::pair{"qwen3", "Qwen3ForCausalLM"}}) {
      CAPTURE(name_of(dtype));
      CAPTURE(architecture);
      const auto tensors = tiny_tensors(architecture, dtype);
      const std::vector<float> gguf =
          logits_of(pool, {{"a.gguf", tiny_gguf_as(architecture, tensors)}}, kTokens);
      CHECK(logits_of(pool, tiny_folder(cls, tensors), kTokens) == gguf);
    }
}

TEST_CASE("a llama folder turns halves of a head: its q and k were never permuted") {
  ThreadPool pool(1);
  const auto tensors = tiny_tensors("llama", DType::f32);
  // qwen2 without biases is the same mathematics with halves.
  const std::vector<float> halves = logits_of(pool, {{"a.gguf", tiny_gguf_as("qwen2", tensors)}}, kTokens);
  CHECK(logits_of(pool, folder(), kTokens) == halves);
  CHECK(logits_of(pool, {{"a.gguf", tiny_gguf_as("llama", tensors)}}, kTokens) != halves);
}

TEST_CASE("a folder's tokenizer, template and special tokens are those of the GGUF file") {
  ThreadPool pool(1);
  const auto gguf = load_files(pool, {{"a.gguf", tiny_gguf().build()}});
  const auto hf = load_files(pool, folder());
  REQUIRE_MESSAGE(hf.ok(), hf.status().message());
  CHECK((*hf)->info.architecture == "llama");
  CHECK((*hf)->info.chat_template == (*gguf)->info.chat_template);
  CHECK((*hf)->special.bos == (*gguf)->special.bos);
  CHECK((*hf)->special.eos == (*gguf)->special.eos);
  CHECK((*hf)->special.add_bos == (*gguf)->special.add_bos);
  const std::string text = "1234 caf\xc3\xa9 <|im_end|> x";
  CHECK((*hf)->tokenizer->encode(text, true) == (*gguf)->tokenizer->encode(text, true));
}

TEST_CASE("weights in several files with an index, and files that are no part of it") {
  ThreadPool pool(1);
  const auto tensors = tiny_tensors("qwen3", DType::f32);
  std::vector<TestFile> files = tiny_folder("Qwen3ForCausalLM", tensors);
  const std::vector<float> whole = logits_of(pool, files, kTokens);
  const std::vector<NamedTensor> all = hf_tensors(tensors);
  const std::vector<NamedTensor> a(all.begin(), all.begin() + 9), b(all.begin() + 9, all.end());
  files.pop_back();
  files.insert(files.begin(), {"README.txt", bytes_of("not a part")});
  files.push_back({"model-00002-of-00002.safetensors", safetensors(b)});
  files.push_back({"model-00001-of-00002.safetensors", safetensors(a)});
  CHECK(logits_of(pool, files, kTokens) == whole);
  json map;
  for (size_t i = 0; i < all.size(); ++i)
    map[all[i].name] = i < 9 ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
  const auto index = [&](const json& weight_map) {
    return TestFile{"model.safetensors.index.json", bytes_of(json{{"weight_map", weight_map}}.dump())};
  };
  files.push_back(index(map));
  CHECK(logits_of(pool, files, kTokens) == whole);
  std::vector<TestFile> broken = files;
  broken.erase(broken.begin() + 5);
  check_refused(broken, ErrorCode::missing_part, {"model-00001-of-00002.safetensors", "2 files"});
  broken = files;
  map[all[0].name] = "model-00002-of-00002.safetensors";
  broken.back() = index(map);
  check_refused(broken, ErrorCode::corrupt_file, {all[0].name, "different models"});
  broken.back() = index(json(3));
  check_refused(broken, ErrorCode::corrupt_file, {"weight_map"});
  broken = files;
  broken.pop_back();
  broken[5].bytes = safetensors(b);
  check_refused(broken, ErrorCode::corrupt_file, {"two files"});
}

TEST_CASE("broken safetensors files are refused and say what is wrong") {
  const auto with_header = [](const json& header, size_t data = 16) {
    return with_bytes("model.safetensors", safetensors(header, Bytes(data, 0)));
  };
  const auto tensor = [](const json& dtype, const json& shape, const json& offsets) {
    return json{{"a", {{"dtype", dtype}, {"shape", shape}, {"data_offsets", offsets}}}};
  };
  const auto corrupt = [&](const json& header, std::string_view part) {
    check_refused(with_header(header), ErrorCode::corrupt_file, {"model.safetensors", part});
  };
  corrupt(tensor("F32", {4}, {0, 12}), "12 bytes");
  corrupt(tensor("F32", {4}, {16, 0}), "begins at 16");
  corrupt(tensor("F32", {2}, {4, 12}), "hole");
  corrupt(tensor("F32", {2}, {0, 8}), "belong to no tensor");
  corrupt(tensor("F32", {0}, {0, 0}), "positive");
  corrupt(tensor("F32", {-4}, {0, 16}), "positive");
  corrupt(tensor("F32", {1.5}, {0, 16}), "positive");
  corrupt(tensor("F32", "4", {0, 16}), "no shape");
  corrupt(tensor(32, {4}, {0, 16}), "no dtype");
  corrupt(tensor("F32", {4}, {0}), "data_offsets");
  corrupt(tensor("F32", {4}, {0, -1}), "data_offsets");
  corrupt(json{{"a", 3}}, "object");
  corrupt(json::array(), "not a JSON object");
  check_refused(with_header(tensor("F32", {1u << 30, 1u << 30}, {0, 16})), ErrorCode::limit_exceeded,
                {"'a'"});
  check_refused(with_header(tensor("F32", {8}, {0, 32})), ErrorCode::truncated, {"'a'", "32"});
  json two = tensor("F32", {3}, {0, 12});
  two["b"] = {{"dtype", "F32"}, {"shape", {2}}, {"data_offsets", {8, 16}}};
  corrupt(two, "overlaps");

  const Bytes whole = file_of(*std::make_unique<std::vector<TestFile>>(folder()), "model.safetensors").bytes;
  check_refused(with_bytes("model.safetensors", Bytes(whole.begin(), whole.begin() + 100)),
                ErrorCode::truncated, {"header"});
  check_refused(with_bytes("model.safetensors", Bytes(whole.begin(), whole.end() - 1)), ErrorCode::truncated,
                {});
  check_refused(with_bytes("model.safetensors", {}), ErrorCode::truncated, {"0 bytes"});
  Bytes bytes = whole;
  bytes[6] = 1;  // 2^48 bytes of header
  check_refused(with_bytes("model.safetensors", bytes), ErrorCode::limit_exceeded, {"limit"});
  bytes = whole;
  bytes[8] = '[';
  check_refused(with_bytes("model.safetensors", bytes), ErrorCode::corrupt_file, {"JSON"});
  check_refused(with_bytes("model.safetensors", bytes_of("version https://git-lfs.github.com/spec/v1")),
                ErrorCode::bad_magic, {"LFS"});
  const std::string twice = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{}})";
  bytes.clear();
  put<uint64_t>(bytes, twice.size());
  bytes.insert(bytes.end(), twice.begin(), twice.end());
  bytes.push_back(0);
  check_refused(with_bytes("model.safetensors", bytes), ErrorCode::corrupt_file, {"'a' twice"});
  // A hundred thousand brackets.
  bytes.clear();
  put<uint64_t>(bytes, 100'005);
  const std::string deep = R"({"a":)" + std::string(100'000, '[');
  bytes.insert(bytes.end(), deep.begin(), deep.end());
  check_refused(with_bytes("model.safetensors", bytes), ErrorCode::limit_exceeded, {"nested"});
}

TEST_CASE("broken configs and incomplete folders are refused and say what is wrong") {
  const auto config = [](const char* key, const json& value) {
    return with_json("config.json", [&](json& c) { c[key] = value; });
  };
  const auto without = [](const char* name) {
    std::vector<TestFile> files = folder();
    std::erase_if(files, [&](const TestFile& f) { return f.name == name; });
    return files;
  };
  check_refused(without("config.json"), ErrorCode::missing_part, {"config.json"});
  check_refused(without("model.safetensors"), ErrorCode::missing_part, {"safetensors"});
  check_refused(without("tokenizer.json"), ErrorCode::missing_part, {"tokenizer.json"});
  check_refused(with_bytes("config.json", bytes_of("{")), ErrorCode::corrupt_file, {"config.json"});
  check_refused(with_bytes("config.json", Bytes((1 << 20) + 1, ' ')), ErrorCode::limit_exceeded,
                {"config.json"});
  check_refused(config("hidden_size", "big"), ErrorCode::corrupt_file, {"hidden_size", "big"});
  check_refused(config("hidden_size", nullptr), ErrorCode::missing_metadata, {"hidden_size"});
  check_refused(config("hidden_size", 1e18), ErrorCode::corrupt_file, {"hidden_size"});
  check_refused(config("num_attention_heads", 0), ErrorCode::corrupt_file, {"num_attention_heads"});
  check_refused(config("vocab_size", 257), ErrorCode::corrupt_file, {"258", "257"});
  check_refused(config("architectures", {"FooForCausalLM"}), ErrorCode::unsupported_architecture,
                {"FooForCausalLM", "LlamaForCausalLM", "Qwen3ForCausalLM"});
  check_refused(config("architectures", json::array()), ErrorCode::missing_metadata, {"architecture"});
  check_refused(config("hidden_act", "gelu"), ErrorCode::unsupported_architecture, {"gelu", "silu"});
  check_refused(config("rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2}}),
                ErrorCode::unsupported_architecture, {"dynamic", "llama3"});
  check_refused(config("sliding_window", 4096), ErrorCode::unsupported_architecture, {"window"});
  check_refused(config("quantization_config", {{"quant_method", "gptq"}}), ErrorCode::unsupported_format,
                {"gptq", "bf16"});
  auto tensors = tiny_tensors("llama", DType::f32);
  tensors.back().name = "strange.weight";
  check_refused(tiny_folder("LlamaForCausalLM", tensors), ErrorCode::unsupported_architecture,
                {"strange.weight", "guess"});
  check_refused(tiny_folder("Qwen3ForCausalLM", tiny_tensors("llama", DType::f32)), ErrorCode::missing_tensor,
                {"attn_q_norm"});
  tensors = tiny_tensors("llama", DType::f32);
  std::vector<NamedTensor> named = hf_tensors(tensors);
  named[0].dtype = "I32";
  check_refused(with_bytes("model.safetensors", safetensors(named)), ErrorCode::unsupported_format,
                {"I32", "BF16"});
}

TEST_CASE("broken tokenizers of a folder are refused and say what is wrong") {
  const auto tokenizer = [](auto change) { return with_json("tokenizer.json", change); };
  check_refused(tokenizer([](json& t) { t["model"]["type"] = "Unigram"; }), ErrorCode::unsupported_tokenizer,
                {"Unigram", "WordPiece"});
  check_refused(tokenizer([](json& t) { t["pre_tokenizer"]["pretokenizers"][0]["type"] = "Bogus"; }),
                ErrorCode::unsupported_tokenizer, {"Bogus"});
  check_refused(tokenizer([](json& t) {
                  t["pre_tokenizer"]["pretokenizers"][0] = {
                      {"type", "Split"}, {"pattern", {{"Regex", "x+y"}}}, {"behavior", "Isolated"}};
                }),
                ErrorCode::unsupported_tokenizer, {"x+y", "llama-bpe"});
  check_refused(tokenizer([](json& t) {
                  t["normalizer"] = {{"type", "NFKC"}};
                }),
                ErrorCode::unsupported_tokenizer, {"NFKC"});
  check_refused(tokenizer([](json& t) { t["model"]["vocab"]["new"] = 5; }), ErrorCode::corrupt_file,
                {"id 5"});
  check_refused(tokenizer([](json& t) { t["model"]["vocab"]["new"] = 2'000'000'000; }),
                ErrorCode::limit_exceeded, {"2000000000"});
  check_refused(tokenizer([](json& t) { t["model"]["vocab"]["new"] = "x"; }), ErrorCode::corrupt_file,
                {"id"});
  check_refused(tokenizer([](json& t) { t["model"]["merges"] = {"a"}; }), ErrorCode::corrupt_file, {"merge"});
  check_refused(tokenizer([](json& t) {
                  t["model"]["merges"] = {{"a", 1}};
                }),
                ErrorCode::corrupt_file, {"merge"});
  check_refused(tokenizer([](json& t) { t["added_tokens"] = {3}; }), ErrorCode::corrupt_file, {"added"});
}

TEST_CASE("a folder without tokenizer.json is read with its tokenizer.model") {
  const auto with_model = [](const std::string& model, const json& settings) {
    std::vector<TestFile> files = folder();
    std::erase_if(files, [](const TestFile& f) { return f.name.starts_with("tokenizer"); });
    files.push_back({"tokenizer.model", bytes_of(model)});
    files.push_back({"tokenizer_config.json", bytes_of(settings.dump())});
    return files;
  };
  ThreadPool pool(1);
  const json added = {{"3", {{"content", "a"}}},
                      {"6", {{"content", "<|im_end|>"}, {"special", true}}},
                      {"7", {{"content", "aaa"}, {"special", false}}}};
  for (const std::string& prefix : {kModelNoPrefix, kModelPrefix}) {
    const std::string pieces = small_model_pieces() + kModelBpe + prefix;
    const auto model = load_files(pool, with_model(pieces, {{"added_tokens_decoder", added}}));
    REQUIRE_MESSAGE(model.ok(), model.status().message());
    const Tokenizer& tokenizer = *(*model)->tokenizer;
    const auto alone = make_tokenizer(*sentencepiece_data(pieces));
    for (const char* text : {"a  a", "aa a", " a", "aab"})
      CHECK(tokenizer.encode(text, true) == (*alone)->encode(text, true));
    const bool space = prefix == kModelPrefix;
    CHECK(tokenizer.encode("a<|im_end|>", true).back() == 6);
    CHECK(tokenizer.encode("aaa", true) == (space ? std::vector<int32_t>{4, 7} : std::vector<int32_t>{7}));
    CHECK(tokenizer.is_end(2));
    CHECK((*model)->special.bos == 1);
    CHECK((*model)->special.add_bos);
    CHECK(tokenizer.prefix()[0] == 1);
  }
  const auto plain = load_files(
      pool, with_model(small_model_pieces() + kModelBpe + kModelNoPrefix, {{"add_bos_token", false}}));
  REQUIRE(plain.ok());
  CHECK((*plain)->tokenizer->prefix().empty());
  check_refused(with_model("no model", json::object()), ErrorCode::corrupt_file, {"SentencePiece"});
  check_refused(with_model(small_model_pieces() + kModelNoPrefix, json::object()),
                ErrorCode::unsupported_tokenizer, {"BPE"});
  check_refused(with_model(small_model_pieces() + kModelBpe + kModelNoPrefix,
                           {{"added_tokens_decoder", {{"x", {{"content", "y"}}}}}}),
                ErrorCode::corrupt_file, {"'x'"});
  check_refused(with_model(small_model_pieces() + kModelBpe + kModelNoPrefix,
                           {{"added_tokens_decoder", {{"2000000000", {{"content", "y"}}}}}}),
                ErrorCode::limit_exceeded, {"2000000000"});
}

TEST_CASE("WordPiece of a folder: uncased and cased, from tokenizer.json and from vocab.txt") {
  ThreadPool pool(1);
  const auto ids = [&](const std::vector<TestFile>& files, const char* text) {
    const auto model = load_files(pool, files);
    REQUIRE_MESSAGE(model.ok(), model.status().message());
    return (*model)->tokenizer->encode(text, true);
  };
  const auto with_normalizer = [](const char* key, const json& value) {
    std::vector<TestFile> files = bert_folder();
    json tokenizer = bert_tokenizer();
    tokenizer["normalizer"][key] = value;
    files[1].bytes = bytes_of(tokenizer.dump());
    return files;
  };
  const std::vector<int32_t> lower = {5, 32}, unknown = {1};
  CHECK(ids(bert_folder(),
            "\xc3\x81"
            "B") == lower);  // A with an accent
  CHECK(ids(with_normalizer("lowercase", false), "AB") == unknown);
  CHECK(ids(with_normalizer("lowercase", false), "ab") == lower);
  check_refused(with_normalizer("strip_accents", false), ErrorCode::unsupported_tokenizer, {"accents"});
  check_refused(with_normalizer("clean_text", false), ErrorCode::unsupported_tokenizer, {"normalizer"});
  std::string lines;
  for (const std::string& word : bert_words()) lines += word + "\n";
  std::vector<TestFile> files = bert_folder();
  files[1] = {"vocab.txt", bytes_of(lines)};
  CHECK(ids(files, "AB") == lower);
  files.push_back({"tokenizer_config.json", bytes_of(R"({"do_lower_case": false})")});
  CHECK(ids(files, "AB") == unknown);
  CHECK(ids(files, "ab") == lower);
}

TEST_CASE("inspect shows what a folder that cannot be run holds") {
  const auto header =
      read_header(with_json("config.json", [](json& c) { c["architectures"] = {"FooModel"}; }));
  REQUIRE_MESSAGE(header.ok(), header.status().message());
  const json answer = inspect(*header);
  CHECK(answer["architecture"] == "FooModel");
  CHECK(answer["formats"] == json{{"F32", 20}});
  REQUIRE(answer["problems"].size() >= 1);
  CHECK(answer["problems"][0].get<std::string>().find("FooModel") != std::string::npos);
  const auto good = read_header(folder());
  REQUIRE(good.ok());
  CHECK(inspect(*good)["problems"] == json::array());
  CHECK(inspect(*good)["tokenizer"] == json{{"model", "gpt2"}, {"pre", "smollm"}, {"vocabulary", 258}});
}
