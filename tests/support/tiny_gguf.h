// A tiny random model (llama; also qwen2 with its biases, gemma3 with its norms) as a whole GGUF file in memory, with a byte-level vocabulary: what the engine's
// tests load. Tests may change the writer before build() to make one thing wrong.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/arch/arch.h"
#include "support/gguf_writer.h"

namespace nutshell::test {

// GPT-2's printable stand-ins: byte -> code point -> UTF-8 (the tokenizer's tests check the mapping itself).
inline std::string byte_token(int byte) {
  int code = byte;
  if (!((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += !((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174);
  }
  if (code < 128) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 63))};
}

struct TinyShape {
  int n_layer = 2, n_embd = 64, n_head = 4, n_head_kv = 2, n_ff = 96, n_ctx = 512;
  std::string architecture = "llama";
};

inline Bytes random_f32(const std::string& name, int64_t n, float scale, float offset) {
  Bytes bytes;
  for (int64_t i = 0; i < n; ++i)
    put(bytes, offset + scale * uniform_pm1(fnv1a(name), static_cast<uint64_t>(i)));
  return bytes;
}

inline GgufWriter tiny_gguf(const TinyShape& s = {}) {
  GgufWriter w;
  const std::string& arch = s.architecture;
  w.add("general.architecture", arch);
  w.add("general.name", "tiny");
  w.add(arch + ".block_count", static_cast<uint32_t>(s.n_layer));
  w.add(arch + ".embedding_length", static_cast<uint32_t>(s.n_embd));
  w.add(arch + ".feed_forward_length", static_cast<uint32_t>(s.n_ff));
  w.add(arch + ".context_length", static_cast<uint32_t>(s.n_ctx));
  w.add(arch + ".attention.head_count", static_cast<uint32_t>(s.n_head));
  w.add(arch + ".attention.head_count_kv", static_cast<uint32_t>(s.n_head_kv));
  w.add(arch + ".attention.layer_norm_rms_epsilon", 1e-5f);
  w.add("tokenizer.ggml.model", "gpt2");
  w.add("tokenizer.ggml.pre", "smollm");
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  for (int b = 0; b < 256; ++b) {
    tokens.push_back(byte_token(b));
    types.push_back(1);
  }
  for (const char* special : {"<|im_start|>", "<|im_end|>"}) {
    tokens.push_back(special);
    types.push_back(3);
  }
  const auto n_vocab = static_cast<int64_t>(tokens.size());
  w.add_strings("tokenizer.ggml.tokens", tokens);
  w.add_array<int32_t>("tokenizer.ggml.token_type", types);
  w.add_strings("tokenizer.ggml.merges", {});
  w.add("tokenizer.ggml.bos_token_id", uint32_t{256});
  w.add("tokenizer.ggml.eos_token_id", uint32_t{257});
  w.add("tokenizer.chat_template", "{{ messages[0]['content'] }}");

  const auto matrix = [&](const std::string& name, int64_t n_out, int64_t n_in) {
    w.add_tensor(
        name, {static_cast<uint64_t>(n_in), static_cast<uint64_t>(n_out)}, DType::f32,
        random_f32(name, n_out * n_in, static_cast<float>(1.7 / std::sqrt(static_cast<double>(n_in))), 0));
  };
  const auto vector = [&](const std::string& name, int n, float offset) {
    w.add_tensor(name, {static_cast<uint64_t>(n)}, DType::f32, random_f32(name, n, 0.1f, offset));
  };
  const auto norm = [&](const std::string& name) { vector(name, s.n_embd, 1); };
  const int head = s.n_embd / s.n_head, n_kv = head * s.n_head_kv;
  matrix("token_embd.weight", n_vocab, s.n_embd);
  for (int il = 0; il < s.n_layer; ++il) {
    norm(block_tensor(il, "attn_norm.weight"));
    norm(block_tensor(il, "ffn_norm.weight"));
    matrix(block_tensor(il, "attn_q.weight"), s.n_embd, s.n_embd);
    matrix(block_tensor(il, "attn_k.weight"), n_kv, s.n_embd);
    matrix(block_tensor(il, "attn_v.weight"), n_kv, s.n_embd);
    matrix(block_tensor(il, "attn_output.weight"), s.n_embd, s.n_embd);
    if (arch == "qwen2") {
      vector(block_tensor(il, "attn_q.bias"), s.n_embd, 0);
      for (const char* name : {"attn_k.bias", "attn_v.bias"}) vector(block_tensor(il, name), n_kv, 0);
    }
    if (arch == "gemma3") {
      for (const char* name : {"attn_q_norm.weight", "attn_k_norm.weight"})
        vector(block_tensor(il, name), head, 1);
      for (const char* name : {"post_attention_norm.weight", "post_ffw_norm.weight"})
        norm(block_tensor(il, name));
    }
    matrix(block_tensor(il, "ffn_gate.weight"), s.n_ff, s.n_embd);
    matrix(block_tensor(il, "ffn_up.weight"), s.n_ff, s.n_embd);
    matrix(block_tensor(il, "ffn_down.weight"), s.n_embd, s.n_ff);
  }
  norm("output_norm.weight");
  return w;
}

}  // namespace nutshell::test
