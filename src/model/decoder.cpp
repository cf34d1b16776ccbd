#include "model/decoder.h"

namespace nutshell {

void build_decoder(GraphBuilder& g, const HParams& p, const DecoderTraits& traits, RopeSpec rope_spec,
                   std::optional<RopeSpec> local_spec) {
  const int32_t rope = g.rope_spec(std::move(rope_spec));
  const int32_t local_rope = local_spec ? g.rope_spec(std::move(*local_spec)) : rope;
  const ActId x = g.embed(g.table("token_embd.weight", p.n_vocab, p.n_embd), traits.embed_scale);
  const auto norm = [&](int64_t il, const char* name) {
    return g.rms_norm(x, g.vector(block_tensor(il, name), p.n_embd), p.rms_eps);
  };
  for (int64_t il = 0; il < p.n_layer; ++il) {
    const bool rotated = traits.no_rope_every == 0 || (il + 1) % traits.no_rope_every != 0;
    const int32_t own_rope = p.is_windowed(il) ? local_rope : rope;
    add_attention(g, p, traits.layer, il, rotated ? own_rope : kNone, x, norm(il, "attn_norm.weight"));
    add_feed_forward(g, p, traits.layer, il, x, norm(il, "ffn_norm.weight"), p.n_ff);
  }
  add_head(g, p, x);
}

}  // namespace nutshell
