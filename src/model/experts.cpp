#include "model/experts.h"

#include <algorithm>

namespace nutshell {

Status read_experts(const GgufFile& file, HParams& p) {
  constexpr int64_t kMaxExperts = 4096, kMaxWidth = 1 << 20;
  MoeParams& m = p.moe;
  const HParamReader r(file, p.architecture);
  RETURN_IF_ERROR(r.integer("expert_count", 1, kMaxExperts, m.n_expert));
  RETURN_IF_ERROR(r.integer("expert_used_count", 1, m.n_expert, m.n_used));
  RETURN_IF_ERROR(r.integer("expert_feed_forward_length", 1, kMaxWidth, m.n_ff, p.n_ff));
  RETURN_IF_ERROR(r.integer("expert_shared_count", 0, 64, m.n_shared, 0));
  RETURN_IF_ERROR(r.integer("leading_dense_block_count", 0, p.n_layer, m.n_dense_layers, 0));
  RETURN_IF_ERROR(r.integer("expert_group_count", 0, 64, m.n_group, 0));
  RETURN_IF_ERROR(r.integer("expert_group_used_count", 0, 64, m.n_group_used, 0));
  RETURN_IF_ERROR(r.integer("expert_gating_func", 0, 16, m.gating, 0));
  double scale = 1.0;
  RETURN_IF_ERROR(r.number("expert_weights_scale", 0.0, 1e6, scale));
  m.scale = scale > 0 ? static_cast<float>(scale) : 1.0f;
  ASSIGN_OR_RETURN(m.normalize, r.flag("expert_weights_norm", false));
  return {};
}

void add_experts(GraphBuilder& g, const HParams& p, const ExpertsTraits& traits, int64_t il, ActId x,
                 ActId f) {
  const auto name = [il](std::string_view suffix) { return block_tensor(il, suffix); };
  const MoeParams& m = p.moe;
  const auto bias = [&](std::string_view suffix, int64_t width) {
    return g.has(name(suffix)) ? g.values(name(suffix), m.n_expert, width) : kNone;
  };
  ExpertsOp op{};
  op.in = f;
  op.out = x;
  op.logits = g.linear(f, g.matrix(name("ffn_gate_inp.weight"), m.n_expert, p.n_embd),
                       g.optional_vector(name("ffn_gate_inp.bias"), m.n_expert));
  op.gate = g.matrices(name("ffn_gate_exps.weight"), m.n_expert, m.n_ff, p.n_embd);
  op.up = g.matrices(name("ffn_up_exps.weight"), m.n_expert, m.n_ff, p.n_embd);
  op.down = g.matrices(name("ffn_down_exps.weight"), m.n_expert, p.n_embd, m.n_ff);
  op.gate_bias = bias("ffn_gate_exps.bias", m.n_ff);
  op.up_bias = bias("ffn_up_exps.bias", m.n_ff);
  op.down_bias = bias("ffn_down_exps.bias", p.n_embd);
  op.selection_bias = g.optional_vector(name("exp_probs_b.bias"), m.n_expert);
  op.n_expert = m.n_expert;
  op.n_used = m.n_used;
  op.activation = traits.activation;
  op.router.scores = traits.scores;
  op.router.normalize = traits.normalize;
  op.router.scale = m.scale;
  if (m.n_group > 1) {
    op.router.n_group = m.n_group;
    op.router.n_group_used = m.n_group_used;
    op.router.group_best = std::min(traits.group_best, m.n_expert / m.n_group);
  }
  g.add_experts(op);
}

}  // namespace nutshell
