#include <cmath>

#include "model/decoder.h"

namespace nutshell {
namespace {

void build_layer(GraphBuilder& g, const HParams& p, const DecoderTraits& traits, int64_t il, int32_t rope,
                 ActId x) {
  const auto name = [il](std::string_view suffix) { return block_tensor(il, suffix); };
  const int64_t n_q = p.n_head * p.head_dim, n_kv = p.n_head_kv * p.head_dim;

  const ActId h = g.rms_norm(x, g.vector(name("attn_norm.weight"), p.n_embd), p.rms_eps);
  const auto qkv = g.linears(
      h, {{g.matrix(name("attn_q.weight"), n_q, p.n_embd), g.optional_vector(name("attn_q.bias"), n_q)},
          {g.matrix(name("attn_k.weight"), n_kv, p.n_embd), g.optional_vector(name("attn_k.bias"), n_kv)},
          {g.matrix(name("attn_v.weight"), n_kv, p.n_embd), g.optional_vector(name("attn_v.bias"), n_kv)}});
  if (traits.qk_norm) {
    g.head_norm(qkv[0], g.vector(name("attn_q_norm.weight"), p.head_dim), p.head_dim, p.rms_eps);
    g.head_norm(qkv[1], g.vector(name("attn_k_norm.weight"), p.head_dim), p.head_dim, p.rms_eps);
  }
  g.rope(qkv[0], p.n_head, p.head_dim, rope, traits.rope_style);
  g.rope(qkv[1], p.n_head_kv, p.head_dim, rope, traits.rope_style);
  const float scale = 1.0f / std::sqrt(static_cast<float>(p.head_dim));
  const ActId o = g.attend(qkv[0], qkv[1], qkv[2], {p.n_head, p.n_head_kv, p.head_dim, scale});
  g.add_linear(x, o, g.matrix(name("attn_output.weight"), p.n_embd, n_q),
               g.optional_vector(name("attn_output.bias"), p.n_embd));

  const ActId f = g.rms_norm(x, g.vector(name("ffn_norm.weight"), p.n_embd), p.rms_eps);
  const auto gate_up = g.linears(f, {{g.matrix(name("ffn_gate.weight"), p.n_ff, p.n_embd)},
                                     {g.matrix(name("ffn_up.weight"), p.n_ff, p.n_embd)}});
  g.add_linear(x, g.gated(gate_up[0], gate_up[1], traits.activation),
               g.matrix(name("ffn_down.weight"), p.n_embd, p.n_ff));
}

}  // namespace

void build_decoder(GraphBuilder& g, const HParams& p, const DecoderTraits& traits, RopeSpec rope_spec) {
  const int32_t rope = g.rope_spec(std::move(rope_spec));
  const ActId x = g.embed(g.table("token_embd.weight", p.n_vocab, p.n_embd));
  for (int64_t il = 0; il < p.n_layer; ++il) build_layer(g, p, traits, il, rope, x);
  const ActId last = g.rms_norm(g.select_outputs(x), g.vector("output_norm.weight", p.n_embd), p.rms_eps);
  const std::string head =
      g.has("output.weight") ? "output.weight" : "token_embd.weight";  // tied when absent
  g.logits(g.linear(last, g.matrix(head, p.n_vocab, p.n_embd)));
}

}  // namespace nutshell
