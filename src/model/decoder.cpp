#include "model/decoder.h"

#include <cmath>

namespace nutshell {
namespace {

class Decoder {
 public:
  Decoder(GraphBuilder& g, const HParams& p, const DecoderTraits& traits, int32_t rope, int32_t local_rope)
      : g_(g), p_(p), traits_(traits), rope_(rope), local_rope_(local_rope) {}

  void layer(int64_t il, ActId x) {
    il_ = il;
    add(x, attention(g_.rms_norm(x, norm("attn_norm.weight"), p_.rms_eps)), "attn_output", n_q(),
        "post_attention_norm.weight");
    add(x, feed_forward(g_.rms_norm(x, norm("ffn_norm.weight"), p_.rms_eps)), "ffn_down", p_.n_ff,
        "post_ffw_norm.weight");
  }

 private:
  std::string name(std::string_view suffix) const { return block_tensor(il_, suffix); }
  WeightId norm(std::string_view suffix) { return g_.vector(name(suffix), p_.n_embd); }
  int64_t n_q() const { return p_.n_head * p_.head_dim; }
  int64_t n_kv() const { return p_.n_head_kv * p_.head_dim; }

  // x += W what + bias, normed before it is added where the family does so.
  void add(ActId x, ActId what, const std::string& tensor, int64_t n_in, std::string_view post_norm) {
    const WeightId w = g_.matrix(name(tensor + ".weight"), p_.n_embd, n_in);
    const WeightId bias = g_.optional_vector(name(tensor + ".bias"), p_.n_embd);
    if (traits_.post_norms) {
      g_.add_to(x, g_.rms_norm(g_.linear(what, w, bias), norm(post_norm), p_.rms_eps));
    } else {
      g_.add_linear(x, what, w, bias);
    }
  }

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

  std::vector<ActId> query_key_value(ActId h) {
    if (!traits_.fused)
      return g_.linears(h, {product("attn_q", n_q()), product("attn_k", n_kv()), product("attn_v", n_kv())});
    const int64_t all = n_q() + 2 * n_kv();
    return g_.linears(h, {part("attn_qkv", all, 0, n_q()), part("attn_qkv", all, n_q(), n_kv()),
                          part("attn_qkv", all, n_q() + n_kv(), n_kv())});
  }

  ActId attention(ActId h) {
    const std::vector<ActId> qkv = query_key_value(h);
    if (traits_.qk_norm) {
      g_.head_norm(qkv[0], g_.vector(name("attn_q_norm.weight"), p_.head_dim), p_.head_dim, p_.rms_eps);
      g_.head_norm(qkv[1], g_.vector(name("attn_k_norm.weight"), p_.head_dim), p_.head_dim, p_.rms_eps);
    }
    const bool windowed = p_.is_windowed(il_);
    if (traits_.no_rope_every == 0 || (il_ + 1) % traits_.no_rope_every != 0) {
      const int32_t rope = windowed ? local_rope_ : rope_;
      g_.rope(qkv[0], p_.n_head, p_.head_dim, rope, traits_.rope_style);
      g_.rope(qkv[1], p_.n_head_kv, p_.head_dim, rope, traits_.rope_style);
    }
    GraphBuilder::Attention a{p_.n_head, p_.n_head_kv, p_.head_dim, traits_.attention_scale};
    if (a.scale == 0.0f) a.scale = 1.0f / std::sqrt(static_cast<float>(p_.head_dim));
    a.window = windowed ? p_.window : 0;
    a.softcap = p_.attn_softcap;
    return g_.attend(qkv[0], qkv[1], qkv[2], a);
  }

  ActId feed_forward(ActId f) {
    const auto gate_up = traits_.fused
                             ? g_.linears(f, {part("ffn_up", 2 * p_.n_ff, 0, p_.n_ff),
                                              part("ffn_up", 2 * p_.n_ff, p_.n_ff, p_.n_ff)})
                             : g_.linears(f, {product("ffn_gate", p_.n_ff), product("ffn_up", p_.n_ff)});
    return g_.gated(gate_up[0], gate_up[1], traits_.activation);
  }

  GraphBuilder& g_;
  const HParams& p_;
  const DecoderTraits& traits_;
  const int32_t rope_, local_rope_;
  int64_t il_ = 0;
};

}  // namespace

void build_decoder(GraphBuilder& g, const HParams& p, const DecoderTraits& traits, RopeSpec rope_spec,
                   std::optional<RopeSpec> local_spec) {
  const int32_t rope = g.rope_spec(std::move(rope_spec));
  const int32_t local_rope = local_spec ? g.rope_spec(std::move(*local_spec)) : rope;
  const ActId x = g.embed(g.table("token_embd.weight", p.n_vocab, p.n_embd), traits.embed_scale);
  Decoder decoder(g, p, traits, rope, local_rope);
  for (int64_t il = 0; il < p.n_layer; ++il) decoder.layer(il, x);
  const ActId last = g.rms_norm(g.select_outputs(x), g.vector("output_norm.weight", p.n_embd), p.rms_eps);
  const std::string head =
      g.has("output.weight") ? "output.weight" : "token_embd.weight";  // tied when absent
  const ActId logits = g.linear(last, g.matrix(head, p.n_vocab, p.n_embd));
  if (p.final_softcap > 0) g.softcap(logits, p.final_softcap);
  g.logits(logits);
}

}  // namespace nutshell
