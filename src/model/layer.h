// The halves of a layer, and the head, that llama and its descendants are made of: rotary grouped-query
// attention, a gated feed-forward, a tied or own output matrix. L4. decoder.h stacks them for the families
// that differ in nothing else; the others write their own layers with these.
#pragma once

#include "model/arch/arch.h"

namespace nutshell {

struct LayerTraits {
  RopeStyle rope_style = RopeStyle::half;
  Activation activation = Activation::silu;  // of the feed-forward's gate
  bool qk_norm = false;                      // RMSNorm of every query and key head (attn_q_norm, attn_k_norm)
  bool sinks = false;                        // attn_sinks
  bool fused = false;            // one tensor for q, k, v (attn_qkv), one for gate and up (ffn_up)
  bool post_norms = false;       // RMSNorm of what each half adds (post_attention_norm, post_ffw_norm)
  float attention_scale = 0.0f;  // 0: 1 / sqrt(head_dim)
};

// x += attention of layer il for h: grouped, with the layer's window, head counts and widths; biases are used
// when the file has them. rope: kNone leaves queries and keys as they are.
void add_attention(GraphBuilder& g, const HParams& p, const LayerTraits& traits, int64_t il, int32_t rope,
                   ActId x, ActId h);

// x += the gated feed-forward of layer il for f, tensors ffn_{gate,up,down}<suffix>.
void add_feed_forward(GraphBuilder& g, const HParams& p, const LayerTraits& traits, int64_t il, ActId x,
                      ActId f, int64_t n_ff, const std::string& suffix = "");

// Logits of x: norm, then output.weight, or the embedding table when the file has none; soft-capped where the
// family does so.
void add_head(GraphBuilder& g, const HParams& p, ActId x, const std::string& norm = "output_norm.weight");

}  // namespace nutshell
