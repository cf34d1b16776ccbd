// The decoder that llama and its descendants share: RMSNorm, rotary grouped-query attention, gated
// feed-forward, residuals, tied or own head. What differs between the families is in DecoderTraits; an
// architecture whose layer differs more writes its own build(). L4.
#pragma once

#include "model/arch/arch.h"

namespace nutshell {

struct DecoderTraits {
  RopeStyle rope_style = RopeStyle::interleaved;
  Activation activation = Activation::silu;
  bool qk_norm = false;  // RMSNorm of every query and key head (attn_q_norm, attn_k_norm)
};

// Biases of q, k, v and of the attention's output are used when the file has them.
void build_decoder(GraphBuilder& g, const HParams& p, const DecoderTraits& traits, RopeSpec rope);

}  // namespace nutshell
