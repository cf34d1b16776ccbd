// The decoder that llama and its descendants share: in every layer RMSNorm, attention, RMSNorm, gated
// feed-forward, as layer.h has them. What differs between the families is in DecoderTraits and in the
// hyperparameters (windows, soft caps); an architecture whose layers differ more writes its own build(). L4.
#pragma once

#include <optional>

#include "model/layer.h"

namespace nutshell {

struct DecoderTraits {
  LayerTraits layer;
  int64_t no_rope_every = 0;  // > 0: every n-th layer is not rotated
  float embed_scale = 1.0f;
};

// local_rope: of layers with a sliding window; nothing: the same.
void build_decoder(GraphBuilder& g, const HParams& p, const DecoderTraits& traits, RopeSpec rope,
                   std::optional<RopeSpec> local_rope = {});

}  // namespace nutshell
