// The decoder that llama and its descendants share: RMSNorm, rotary grouped-query attention, gated
// feed-forward, residuals, tied or own head. What differs between the families is in DecoderTraits and in the
// hyperparameters (windows, soft caps); an architecture whose layer differs more writes its own build(). L4.
#pragma once

#include <optional>

#include "model/arch/arch.h"

namespace nutshell {

struct DecoderTraits {
  RopeStyle rope_style = RopeStyle::interleaved;
  Activation activation = Activation::silu;
  bool qk_norm = false;  // RMSNorm of every query and key head (attn_q_norm, attn_k_norm)
  bool post_norms =
      false;           // RMSNorm of what attention and feed-forward add (post_attention_norm, post_ffw_norm)
  bool fused = false;  // one tensor for q, k, v (attn_qkv), one for gate and up (ffn_up)
  int64_t no_rope_every = 0;  // > 0: every n-th layer is not rotated
  float embed_scale = 1.0f;
  float attention_scale = 0.0f;  // 0: 1 / sqrt(head_dim)
};

// Biases of q, k, v and of the attention's output are used when the file has them. local_rope: of layers with
// a sliding window; nothing: the same.
void build_decoder(GraphBuilder& g, const HParams& p, const DecoderTraits& traits, RopeSpec rope,
                   std::optional<RopeSpec> local_rope = {});

}  // namespace nutshell
