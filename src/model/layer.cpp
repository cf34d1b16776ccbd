#include "model/layer.h"

#include <cmath>

namespace nutshell {
namespace {

// What the tensors of one layer are called, and the products they take part in.
class Layer {
 public:
  Layer(GraphBuilder& g, const HParams& p, int64_t il) : g_(g), p_(p), il_(il) {}

  std::string name(std::string_view suffix) const { return block_tensor(il_, suffix); }

  GraphBuilder::Product product(const std::string& tensor, int64_t n_out) {
    return {g_.matrix(name(tensor + ".weight"), n_out, p_.n_embd),
            g_.optional_vector(name(tensor + ".bias"), n_out)};
  }
  // Rows [first, first + n) of a fused tensor of n_rows.
  GraphBuilder::Product part(const std::string& tensor, int64_t n_rows, int64_t first, int64_t n) {
    const std::string bias = name(tensor + ".bias");
    return {g_.matrix_rows(name(tensor + ".weight"), n_rows, first, n, p_.n_embd),
            g_.has(bias) ? g_.vector_part(bias, n_rows, first, n) : kNone};
  }

  // x += W what + bias; with a post_norm, that is normed before it is added.
  void add(ActId x, ActId what, const std::string& tensor, int64_t n_in, std::string_view post_norm) {
    const WeightId w = g_.matrix(name(tensor + ".weight"), p_.n_embd, n_in);
    const WeightId bias = g_.optional_vector(name(tensor + ".bias"), p_.n_embd);
    if (post_norm.empty()) return g_.add_linear(x, what, w, bias);
    g_.add_to(x, g_.rms_norm(g_.linear(what, w, bias), g_.vector(name(post_norm), p_.n_embd), p_.rms_eps));
  }

 private:
  GraphBuilder& g_;
  const HParams& p_;
  const int64_t il_;
};

}  // namespace

void add_attention(GraphBuilder& g, const HParams& p, const LayerTraits& traits, int64_t il, int32_t rope,
                   ActId x, ActId h) {
  Layer layer(g, p, il);
  const int64_t n_head_kv = p.n_head_kv_of(il);
  const int64_t n_q = p.n_head * p.head_dim, n_k = n_head_kv * p.head_dim, n_v = n_head_kv * p.head_dim_v;
  const int64_t all = n_q + n_k + n_v;
  const std::vector<ActId> qkv =
      traits.fused ? g.linears(h, {layer.part("attn_qkv", all, 0, n_q), layer.part("attn_qkv", all, n_q, n_k),
                                   layer.part("attn_qkv", all, n_q + n_k, n_v)})
                   : g.linears(h, {layer.product("attn_q", n_q), layer.product("attn_k", n_k),
                                   layer.product("attn_v", n_v)});
  if (traits.qk_norm) {
    g.head_norm(qkv[0], g.vector(layer.name("attn_q_norm.weight"), p.head_dim), p.head_dim, p.rms_eps);
    g.head_norm(qkv[1], g.vector(layer.name("attn_k_norm.weight"), p.head_dim), p.head_dim, p.rms_eps);
  }
  if (rope != kNone) {
    g.rope(qkv[0], p.n_head, p.head_dim, rope, traits.rope_style);
    g.rope(qkv[1], n_head_kv, p.head_dim, rope, traits.rope_style);
  }
  GraphBuilder::Attention a{p.n_head, n_head_kv, p.head_dim, traits.attention_scale};
  if (a.scale == 0.0f) a.scale = 1.0f / std::sqrt(static_cast<float>(p.head_dim));
  a.window = p.is_windowed(il) ? p.window : 0;
  a.softcap = p.attn_softcap;
  a.head_dim_v = p.head_dim_v;
  if (traits.sinks) a.sinks = g.vector(layer.name("attn_sinks.weight"), p.n_head);
  layer.add(x, g.attend(qkv[0], qkv[1], qkv[2], a), "attn_output", p.n_head * p.head_dim_v,
            traits.post_norms ? "post_attention_norm.weight" : "");
}

void add_feed_forward(GraphBuilder& g, const HParams& p, const LayerTraits& traits, int64_t il, ActId x,
                      ActId f, int64_t n_ff, const std::string& suffix) {
  Layer layer(g, p, il);
  const std::string gate = "ffn_gate" + suffix, up = "ffn_up" + suffix;
  const std::vector<ActId> gate_up =
      traits.fused ? g.linears(f, {layer.part(up, 2 * n_ff, 0, n_ff), layer.part(up, 2 * n_ff, n_ff, n_ff)})
                   : g.linears(f, {layer.product(gate, n_ff), layer.product(up, n_ff)});
  layer.add(x, g.gated(gate_up[0], gate_up[1], traits.activation), "ffn_down" + suffix, n_ff,
            traits.post_norms ? "post_ffw_norm.weight" : "");
}

void add_head(GraphBuilder& g, const HParams& p, ActId x, const std::string& norm) {
  const ActId last = g.rms_norm(g.select_outputs(x), g.vector(norm, p.n_embd), p.rms_eps);
  const std::string head =
      g.has("output.weight") ? "output.weight" : "token_embd.weight";  // tied when absent
  const ActId logits = g.linear(last, g.matrix(head, p.n_vocab, p.n_embd));
  if (p.final_softcap > 0) g.softcap(logits, p.final_softcap);
  g.logits(logits);
}

}  // namespace nutshell
