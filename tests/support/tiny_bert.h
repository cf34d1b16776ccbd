// A tiny random BERT whose vocabulary is letters, as a GGUF file and as a Hugging Face folder of the same
// numbers: what the tests of embeddings load.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/tiny_folder.h"
#include "text/wordpiece.h"

namespace nutshell::test {

inline constexpr int kBertEmbd = 32, kBertHeads = 2, kBertFf = 64, kBertLayers = 2, kBertContext = 32;

// Ids: 0 [PAD], 1 [UNK], 2 [CLS], 3 [SEP], 4 [MASK], then "a".."z" and "##a".."##z".
inline std::vector<std::string> bert_words() {
  std::vector<std::string> words = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  for (const char* mark : {"", "##"})
    for (char c = 'a'; c <= 'z'; ++c) words.push_back(mark + std::string(1, c));
  return words;
}

inline std::vector<GgufWriter::Tensor> bert_tensors() {
  GgufWriter w;
  const auto add = [&](const std::string& name, std::vector<uint64_t> dims, float scale, float offset) {
    int64_t n = 1;
    for (const uint64_t d : dims) n *= static_cast<int64_t>(d);
    w.add_tensor(name, std::move(dims), DType::f32, random_f32(name, n, scale, offset));
  };
  const auto norm = [&](const std::string& name) {
    add(name + ".weight", {kBertEmbd}, 0.1f, 1);
    add(name + ".bias", {kBertEmbd}, 0.1f, 0);
  };
  const auto linear = [&](const std::string& name, uint64_t n_out, uint64_t n_in) {
    add(name + ".weight", {n_in, n_out}, static_cast<float>(1.7 / std::sqrt(static_cast<double>(n_in))), 0);
    add(name + ".bias", {n_out}, 0.2f, 0);
  };
  add("token_embd.weight", {kBertEmbd, bert_words().size()}, 1, 0);
  add("position_embd.weight", {kBertEmbd, kBertContext}, 0.5f, 0);
  add("token_types.weight", {kBertEmbd, 2}, 0.5f, 0);
  norm("token_embd_norm");
  for (int il = 0; il < kBertLayers; ++il) {
    for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"})
      linear(block_tensor(il, name), kBertEmbd, kBertEmbd);
    norm(block_tensor(il, "attn_output_norm"));
    linear(block_tensor(il, "ffn_up"), kBertFf, kBertEmbd);
    linear(block_tensor(il, "ffn_down"), kBertEmbd, kBertFf);
    norm(block_tensor(il, "layer_output_norm"));
  }
  return w.tensors;
}

inline GgufWriter bert_gguf() {
  GgufWriter w;
  w.add("general.architecture", "bert");
  w.add("bert.block_count", uint32_t{kBertLayers});
  w.add("bert.embedding_length", uint32_t{kBertEmbd});
  w.add("bert.feed_forward_length", uint32_t{kBertFf});
  w.add("bert.context_length", uint32_t{kBertContext});
  w.add("bert.attention.head_count", uint32_t{kBertHeads});
  w.add("bert.attention.layer_norm_epsilon", 1e-12f);
  w.add("bert.attention.causal", false);
  w.add("tokenizer.ggml.token_type_count", uint32_t{2});
  const TokenizerData data = wordpiece_data(bert_words(), true);
  w.add("tokenizer.ggml.model", "bert");
  w.add_strings("tokenizer.ggml.tokens", data.tokens);
  w.add_array<int32_t>("tokenizer.ggml.token_type", data.types);
  w.tensors = bert_tensors();
  return w;
}

// "blk.1.attn_q.weight" -> "encoder.layer.1.attention.self.query.weight"
inline std::string bert_hf_name(const std::string& gguf) {
  const size_t end = gguf.rfind('.');
  std::string layer, what = gguf.substr(0, end);
  if (gguf.starts_with("blk.")) {
    const size_t dot = gguf.find('.', 4);
    layer = "encoder.layer." + gguf.substr(4, dot - 4) + ".";
    what = gguf.substr(dot + 1, end - dot - 1);
  }
  const std::pair<const char*, const char*> kNames[] = {{"token_embd", "embeddings.word_embeddings"},
                                                        {"position_embd", "embeddings.position_embeddings"},
                                                        {"token_types", "embeddings.token_type_embeddings"},
                                                        {"token_embd_norm", "embeddings.LayerNorm"},
                                                        {"attn_q", "attention.self.query"},
                                                        {"attn_k", "attention.self.key"},
                                                        {"attn_v", "attention.self.value"},
                                                        {"attn_output", "attention.output.dense"},
                                                        {"attn_output_norm", "attention.output.LayerNorm"},
                                                        {"ffn_up", "intermediate.dense"},
                                                        {"ffn_down", "output.dense"},
                                                        {"layer_output_norm", "output.LayerNorm"}};
  for (const auto& [from, to] : kNames)
    if (what == from) return layer + to + gguf.substr(end);
  return gguf;
}

inline nlohmann::json bert_config() {
  return {{"architectures", {"BertModel"}},
          {"hidden_size", kBertEmbd},
          {"num_hidden_layers", kBertLayers},
          {"intermediate_size", kBertFf},
          {"num_attention_heads", kBertHeads},
          {"max_position_embeddings", kBertContext},
          {"type_vocab_size", 2},
          {"layer_norm_eps", 1e-12},
          {"hidden_act", "gelu"},
          {"vocab_size", bert_words().size()}};
}

inline nlohmann::json bert_tokenizer() {
  nlohmann::json vocabulary, added = nlohmann::json::array();
  const std::vector<std::string> words = bert_words();
  for (size_t i = 0; i < words.size(); ++i) {
    vocabulary[words[i]] = i;
    if (i < 5) added.push_back({{"id", i}, {"content", words[i]}, {"special", true}});
  }
  return {{"added_tokens", added},
          {"normalizer",
           {{"type", "BertNormalizer"},
            {"clean_text", true},
            {"handle_chinese_chars", true},
            {"strip_accents", nullptr},
            {"lowercase", true}}},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"model",
           {{"type", "WordPiece"},
            {"unk_token", "[UNK]"},
            {"continuing_subword_prefix", "##"},
            {"vocab", vocabulary}}}};
}

// The folder of the model alone.
inline std::vector<TestFile> bert_folder() {
  std::vector<NamedTensor> tensors;
  for (const GgufWriter::Tensor& t : bert_tensors())
    tensors.push_back({bert_hf_name(t.name), "F32", {t.dims.rbegin(), t.dims.rend()}, t.data});
  return {{"config.json", bytes_of(bert_config().dump())},
          {"tokenizer.json", bytes_of(bert_tokenizer().dump())},
          {"model.safetensors", safetensors(tensors)}};
}

// The folder as sentence-transformers saves it; `modules` as in modules.json without their package.
inline std::vector<TestFile> sentence_folder(const nlohmann::json& pooling,
                                             const std::vector<std::string>& modules) {
  std::vector<TestFile> files = bert_folder();
  nlohmann::json list = nlohmann::json::array();
  for (size_t i = 0; i < modules.size(); ++i)
    list.push_back({{"idx", i},
                    {"name", std::to_string(i)},
                    {"path", i == 0 ? "" : std::to_string(i) + "_" + modules[i]},
                    {"type", "sentence_transformers.models." + modules[i]}});
  files.push_back({"modules.json", bytes_of(list.dump())});
  files.push_back({"1_Pooling/config.json", bytes_of(pooling.dump())});
  return files;
}

}  // namespace nutshell::test
