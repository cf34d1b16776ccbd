// The attention half of a layer for architectures that write their own layers. L4.
#pragma once

#include "model/arch/arch.h"

namespace nutshell {

struct AttentionTraits {
  bool qk_norm = false;  // RMSNorm of every query and key head (attn_q_norm, attn_k_norm)
  bool sinks = false;    // attn_sinks
};

// x += attention of layer il for h: rotary (halves paired), grouped, with the layer's window, head counts and
// widths; biases are used when the file has them.
void add_attention(GraphBuilder& g, const HParams& p, const AttentionTraits& traits, int64_t il, int32_t rope,
                   ActId x, ActId h);

// Logits of x: norm, then output.weight, or the embedding table when the file has none.
void add_head(GraphBuilder& g, const HParams& p, ActId x, const std::string& norm = "output_norm.weight");

// x += the feed-forward network with a SiLU gate of layer il for f, tensors ffn_{gate,up,down}<suffix>.
void add_feed_forward(GraphBuilder& g, const HParams& p, int64_t il, ActId x, ActId f, int64_t n_ff,
                      const std::string& suffix = "");

}  // namespace nutshell
