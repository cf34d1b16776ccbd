#include "model/attention.h"

#include <cmath>

namespace nutshell {

void add_attention(GraphBuilder& g, const HParams& p, const AttentionTraits& traits, int64_t il, int32_t rope,
                   ActId x, ActId h) {
  const auto name = [il](std::string_view suffix) { return block_tensor(il, suffix); };
  const int64_t n_head_kv = p.n_head_kv_of(il);
  const auto product = [&](const std::string& tensor, int64_t n_out) {
    return GraphBuilder::Product{g.matrix(name(tensor + ".weight"), n_out, p.n_embd),
                                 g.optional_vector(name(tensor + ".bias"), n_out)};
  };
  const auto qkv =
      g.linears(h, {product("attn_q", p.n_head * p.head_dim), product("attn_k", n_head_kv * p.head_dim),
                    product("attn_v", n_head_kv * p.head_dim_v)});
  if (traits.qk_norm) {
    g.head_norm(qkv[0], g.vector(name("attn_q_norm.weight"), p.head_dim), p.head_dim, p.rms_eps);
    g.head_norm(qkv[1], g.vector(name("attn_k_norm.weight"), p.head_dim), p.head_dim, p.rms_eps);
  }
  g.rope(qkv[0], p.n_head, p.head_dim, rope, RopeStyle::half);
  g.rope(qkv[1], n_head_kv, p.head_dim, rope, RopeStyle::half);
  GraphBuilder::Attention a{p.n_head, n_head_kv, p.head_dim,
                            1.0f / std::sqrt(static_cast<float>(p.head_dim))};
  a.window = p.is_windowed(il) ? p.window : 0;
  a.head_dim_v = p.head_dim_v;
  if (traits.sinks) a.sinks = g.vector(name("attn_sinks.weight"), p.n_head);
  g.add_linear(x, g.attend(qkv[0], qkv[1], qkv[2], a),
               g.matrix(name("attn_output.weight"), p.n_embd, p.n_head * p.head_dim_v),
               g.optional_vector(name("attn_output.bias"), p.n_embd));
}

void add_head(GraphBuilder& g, const HParams& p, ActId x, const std::string& norm) {
  const ActId last = g.rms_norm(g.select_outputs(x), g.vector(norm, p.n_embd), p.rms_eps);
  const std::string head = g.has("output.weight") ? "output.weight" : "token_embd.weight";
  g.logits(g.linear(last, g.matrix(head, p.n_vocab, p.n_embd)));
}

void add_feed_forward(GraphBuilder& g, const HParams& p, int64_t il, ActId x, ActId f, int64_t n_ff,
                      const std::string& suffix) {
  const auto name = [&](const std::string& tensor) { return block_tensor(il, tensor + suffix + ".weight"); };
  const auto gate_up = g.linears(
      f, {{g.matrix(name("ffn_gate"), n_ff, p.n_embd)}, {g.matrix(name("ffn_up"), n_ff, p.n_embd)}});
  g.add_linear(x, g.gated(gate_up[0], gate_up[1], Activation::silu),
               g.matrix(name("ffn_down"), p.n_embd, n_ff));
}

}  // namespace nutshell
