// Tiny random llama models, as scripts/golden/make_tiny.py makes them: the weights come from base/rng.h, so
// that only the config and the logits are committed.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/rng.h"
#include "model/arch/arch.h"

namespace nutshell::test {

struct TinyTensor {
  std::string name;
  int64_t n_rows, n_cols;
  std::vector<float> values;
};

struct TinyLlama {
  HParams hparams;
  HostTensors host;
  std::vector<TinyTensor> tensors;
  TensorIndex index;
};

inline void add_tensor(TinyLlama& m, uint64_t seed, const std::string& name, int64_t n_rows, int64_t n_cols,
                       float scale, float offset) {
  TinyTensor t{name, n_rows, n_cols, {}};
  const uint64_t tensor_seed = fnv1a(name) ^ seed;
  for (int64_t i = 0; i < n_rows * n_cols; ++i)
    t.values.push_back(offset + uniform_pm1(tensor_seed, static_cast<uint64_t>(i)) * scale);
  TensorEntry entry;
  entry.name = name;
  entry.dtype = DType::f32;
  entry.n_rows = n_rows;
  entry.n_cols = n_cols;
  m.index.add(entry);
  m.tensors.push_back(std::move(t));
}

inline TinyLlama make_tiny_llama(const nlohmann::json& variant, uint64_t seed) {
  const nlohmann::json& c = variant["config"];
  TinyLlama m;
  HParams& p = m.hparams;
  p.architecture = "llama";
  p.n_layer = c["n_layer"];
  p.n_embd = c["n_embd"];
  p.n_ff = c["n_ff"];
  p.n_head = c["n_head"];
  p.n_head_kv = c["n_head_kv"];
  p.head_dim = c["head_dim"];
  p.n_vocab = c["n_vocab"];
  p.n_ctx_train = c["n_ctx"];
  p.rms_eps = c["rms_norm_eps"];
  p.rope.n_rot = p.head_dim;
  p.rope.freq_base = c["rope_freq_base"];
  const std::string scaling = c["rope_scaling"];
  if (scaling == "linear") p.rope.scaling = RopeScaling::linear;
  if (scaling == "yarn") {
    p.rope.scaling = RopeScaling::yarn;
    p.rope.n_ctx_orig = c["original_context"];
  }
  p.rope.factor = c.value("rope_scaling_factor", 1.0);
  if (variant.contains("rope_freqs"))
    m.host["rope_freqs.weight"] = variant["rope_freqs"].get<std::vector<float>>();

  const auto matrix = [&](const std::string& name, int64_t n_out, int64_t n_in) {
    add_tensor(m, seed, name, n_out, n_in, static_cast<float>(1.7 / std::sqrt(static_cast<double>(n_in))),
               0.0f);
  };
  const auto norm = [&](const std::string& name) { add_tensor(m, seed, name, 1, p.n_embd, 0.1f, 1.0f); };
  add_tensor(m, seed, "token_embd.weight", p.n_vocab, p.n_embd, 1.0f, 0.0f);
  for (int64_t il = 0; il < p.n_layer; ++il) {
    norm(block_tensor(il, "attn_norm.weight"));
    norm(block_tensor(il, "ffn_norm.weight"));
    matrix(block_tensor(il, "attn_q.weight"), p.n_head * p.head_dim, p.n_embd);
    matrix(block_tensor(il, "attn_k.weight"), p.n_head_kv * p.head_dim, p.n_embd);
    matrix(block_tensor(il, "attn_v.weight"), p.n_head_kv * p.head_dim, p.n_embd);
    matrix(block_tensor(il, "attn_output.weight"), p.n_embd, p.n_head * p.head_dim);
    matrix(block_tensor(il, "ffn_gate.weight"), p.n_ff, p.n_embd);
    matrix(block_tensor(il, "ffn_up.weight"), p.n_ff, p.n_embd);
    matrix(block_tensor(il, "ffn_down.weight"), p.n_embd, p.n_ff);
  }
  norm("output_norm.weight");
  if (!c["tied"].get<bool>()) matrix("output.weight", p.n_vocab, p.n_embd);
  return m;
}

// Builds the graph and fills a back end with it.
inline void fill_backend(const TinyLlama& m, Backend& backend, const Extents& extents) {
  GraphBuilder builder(m.index);
  const auto arch = find_architecture("llama");
  REQUIRE(arch.ok());
  (*arch)->build(builder, m.hparams, m.host);
  auto graph = builder.finish();
  REQUIRE_MESSAGE(graph.ok(), graph.status().message());
  const std::vector<WeightSpec> weights = graph->weights;
  const Status allocated = backend.allocate(std::move(*graph), extents);
  REQUIRE_MESSAGE(allocated.ok(), allocated.message());
  for (size_t i = 0; i < weights.size(); ++i)
    for (const TinyTensor& t : m.tensors)
      if (t.name == weights[i].name) {
        const Status status = backend.upload(
            static_cast<WeightId>(i), 0, t.n_rows,
            {reinterpret_cast<const uint8_t*>(t.values.data()), t.values.size() * sizeof(float)});
        REQUIRE_MESSAGE(status.ok(), status.message());
      }
}

inline std::unique_ptr<Backend> make_tiny_backend(const TinyLlama& m, ThreadPool& pool,
                                                  const Extents& extents) {
  auto backend = make_cpu_backend(pool);
  fill_backend(m, *backend, extents);
  return backend;
}

}  // namespace nutshell::test
