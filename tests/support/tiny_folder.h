// The tiny model of tiny_gguf.h as a Hugging Face folder, and as a GGUF file of another architecture: the
// same numbers, so that both ways of reading can be compared bit for bit.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "quant/format.h"
#include "support/loading.h"
#include "support/tiny_gguf.h"

namespace nutshell::test {

inline Bytes bytes_of(const std::string& text) { return Bytes(text.begin(), text.end()); }

struct NamedTensor {
  std::string name, dtype;
  std::vector<uint64_t> shape;  // outermost first
  Bytes data;
};

inline Bytes safetensors(const nlohmann::json& header, const Bytes& data) {
  const std::string text = header.dump();
  Bytes out;
  put<uint64_t>(out, text.size());
  out.insert(out.end(), text.begin(), text.end());
  out.insert(out.end(), data.begin(), data.end());
  return out;
}

inline Bytes safetensors(const std::vector<NamedTensor>& tensors) {
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
  Bytes data;
  for (const NamedTensor& t : tensors) {
    const size_t begin = data.size();
    data.insert(data.end(), t.data.begin(), t.data.end());
    header[t.name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {begin, data.size()}}};
  }
  return safetensors(header, data);
}

// "blk.1.attn_q.weight" -> "model.layers.1.self_attn.q_proj.weight"
inline std::string hf_name(const std::string& gguf) {
  if (gguf == "token_embd.weight") return "model.embed_tokens.weight";
  if (gguf == "output_norm.weight") return "model.norm.weight";
  const size_t dot = gguf.find('.', 4), end = gguf.rfind('.');
  const std::string layer = gguf.substr(4, dot - 4), what = gguf.substr(dot + 1, end - dot - 1);
  const std::pair<const char*, const char*> kNames[] = {
      {"attn_norm", "input_layernorm"},    {"ffn_norm", "post_attention_layernorm"},
      {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"},
      {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"},
      {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  for (const auto& [from, to] : kNames)
    if (what == from) return "model.layers." + layer + "." + to + gguf.substr(end);
  return gguf;
}

// The tensors of tiny_gguf(), for qwen3 with norms of the heads, for qwen2 with biases; values as dtype.
inline std::vector<GgufWriter::Tensor> tiny_tensors(const std::string& architecture, DType dtype) {
  GgufWriter w = tiny_gguf();
  for (int il = 0; il < 2; ++il) {
    const auto vector = [&](const char* name, uint64_t n, float offset) {
      const std::string full = block_tensor(il, name);
      w.add_tensor(full, {n}, DType::f32, random_f32(full, static_cast<int64_t>(n), 0.1f, offset));
    };
    if (architecture == "qwen3") {
      vector("attn_q_norm.weight", 16, 1);
      vector("attn_k_norm.weight", 16, 1);
    } else if (architecture == "qwen2") {
      vector("attn_q.bias", 64, 0);
      vector("attn_k.bias", 32, 0);
      vector("attn_v.bias", 32, 0);
    }
  }
  for (GgufWriter::Tensor& t : w.tensors) {
    if (dtype == DType::f32) continue;
    std::vector<float> values(t.data.size() / sizeof(float));
    std::memcpy(values.data(), t.data.data(), t.data.size());
    t.data.resize(values.size() * 2);
    REQUIRE(encode_row(dtype, values.data(), static_cast<int64_t>(values.size()), t.data.data()));
    t.type = info_of(dtype).gguf_id;
  }
  return w.tensors;
}

inline Bytes tiny_gguf_as(const std::string& architecture, std::vector<GgufWriter::Tensor> tensors) {
  GgufWriter w = tiny_gguf();
  std::vector<Bytes> kept;
  for (const Bytes& kv : w.keys)
    if (std::string(kv.begin() + 8, kv.begin() + 18) == "tokenizer.") kept.push_back(kv);
  w.keys = kept;
  w.add("general.architecture", architecture);
  const auto key = [&](const char* name) { return architecture + "." + name; };
  w.add(key("block_count"), uint32_t{2});
  w.add(key("embedding_length"), uint32_t{64});
  w.add(key("feed_forward_length"), uint32_t{96});
  w.add(key("context_length"), uint32_t{512});
  w.add(key("attention.head_count"), uint32_t{4});
  w.add(key("attention.head_count_kv"), uint32_t{2});
  w.add(key("attention.layer_norm_rms_epsilon"), 1e-5f);
  w.tensors = std::move(tensors);
  return w.build();
}

inline nlohmann::json tiny_config(const std::string& cls) {
  return {{"architectures", {cls}},  {"hidden_size", 64},           {"num_hidden_layers", 2},
          {"intermediate_size", 96}, {"num_attention_heads", 4},    {"num_key_value_heads", 2},
          {"rms_norm_eps", 1e-5},    {"vocab_size", 258},           {"max_position_embeddings", 512},
          {"rope_theta", 10000.0},   {"tie_word_embeddings", true}, {"hidden_act", "silu"},
          {"eos_token_id", 257}};
}

inline nlohmann::json tiny_tokenizer() {
  nlohmann::json vocabulary;
  for (int b = 0; b < 256; ++b) vocabulary[byte_token(b)] = b;
  const auto special = [](int id, const char* text) {
    return nlohmann::json{{"id", id}, {"content", text}, {"special", true}};
  };
  return {{"added_tokens", {special(256, "<|im_start|>"), special(257, "<|im_end|>")}},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Digits"}, {"individual_digits", true}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}}}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}};
}

inline std::vector<NamedTensor> hf_tensors(const std::vector<GgufWriter::Tensor>& tensors) {
  std::vector<NamedTensor> out;
  for (const GgufWriter::Tensor& t : tensors) {
    const char* dtype = t.type == 0 ? "F32" : t.type == 1 ? "F16" : "BF16";
    out.push_back({hf_name(t.name), dtype, {t.dims.rbegin(), t.dims.rend()}, t.data});
  }
  return out;
}

inline std::vector<TestFile> tiny_folder(const std::string& cls,
                                         const std::vector<GgufWriter::Tensor>& tensors) {
  return {{"config.json", bytes_of(tiny_config(cls).dump())},
          {"tokenizer.json", bytes_of(tiny_tokenizer().dump())},
          {"tokenizer_config.json", bytes_of(R"({"eos_token": {"content": "<|im_end|>"},
            "bos_token": "<|im_start|>", "chat_template": "{{ messages[0]['content'] }}"})")},
          {"model.safetensors", safetensors(hf_tensors(tensors))}};
}

}  // namespace nutshell::test
