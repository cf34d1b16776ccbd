#include "unit/backend/reference_runner.h"

#include "kernels/packed.h"

namespace nutshell::test {

using reference::Row;

std::vector<Row> ReferenceRunner::run(const Step& step) {
  acts_.clear();
  for (const Op& op : g_.ops) apply(op, step);
  return acts_[g_.logits];
}

void ReferenceRunner::attend(const AttentionOp& o, const Step& step) {
  auto& keys = keys_[static_cast<size_t>(o.layer)];
  auto& values = values_[static_cast<size_t>(o.layer)];
  keys.resize(static_cast<size_t>(step.n_past));
  values.resize(static_cast<size_t>(step.n_past));
  Rows out;
  for (size_t t = 0; t < step.tokens.size(); ++t) {
    keys.push_back(reference::kv_row(at(o.k)[t], o.head_dim));
    values.push_back(reference::kv_row(at(o.v)[t], o.head_dim_v));
    const std::span<const float> sinks =
        o.sinks == kNone ? std::span<const float>{} : w_[static_cast<size_t>(o.sinks)].values;
    out.push_back(
        reference::attend({o.n_head, o.n_head_kv, o.head_dim, o.head_dim_v, static_cast<double>(o.scale),
                           o.window, static_cast<double>(o.softcap), sinks},
                          at(o.q)[t], keys, values, step.n_past + static_cast<int64_t>(t)));
  }
  at(o.out) = out;
}

void ReferenceRunner::apply(const Op& op, const Step& step) {
  const auto weight = [&](WeightId id) -> const HostWeight& { return w_[static_cast<size_t>(id)]; };
  const auto pairs = [](RopeStyle s) {
    return s == RopeStyle::half ? RotaryPairs::half : RotaryPairs::interleaved;
  };
  if (const auto* e = std::get_if<EmbedOp>(&op)) {
    Rows out;
    const auto n = static_cast<size_t>(weight(e->table).spec.n_cols);
    for (int32_t token : step.tokens) {
      Row row;
      for (size_t i = 0; i < n; ++i)
        row.push_back(
            static_cast<double>(weight(e->table).values[static_cast<size_t>(token) * n + i] * e->scale));
      if (e->rotation != kNone)
        row = reference::rotate(row, g_.rotations[static_cast<size_t>(e->rotation)].seed, true);
      out.push_back(row);
    }
    at(e->out) = out;
  } else if (const auto* norm = std::get_if<RmsNormOp>(&op)) {
    Rows out;
    for (const Row& r : at(norm->in))
      out.push_back(
          reference::rms_norm(r, weight(norm->weight).values, norm->group, static_cast<double>(norm->eps)));
    at(norm->out) = out;
  } else if (const auto* linear = std::get_if<LinearOp>(&op)) {
    for (const LinearOp::Part& p : linear->parts) {
      const HostWeight& w = weight(p.weight);
      Rows out;
      for (const Row& in : at(linear->in)) {
        const Row r =
            linear->rotation == kNone
                ? in
                : reference::rotate(in, g_.rotations[static_cast<size_t>(linear->rotation)].seed, false);
        const bool integers = has_packed(w.spec.dtype) || is_trellis(w.spec.dtype);
        const Row x = integers ? reference::quantized(r) : r;
        out.push_back(reference::linear(w.values, w.spec.n_rows, w.spec.n_cols, x,
                                        p.bias == kNone ? std::span<const float>{} : weight(p.bias).values));
        if (p.accumulate)
          for (size_t i = 0; i < out.back().size(); ++i) out.back()[i] += at(p.out)[out.size() - 1][i];
      }
      at(p.out) = out;
    }
  } else if (const auto* rope = std::get_if<RopeOp>(&op)) {
    const RopeSpec& spec = g_.ropes[static_cast<size_t>(rope->rope)];
    for (size_t t = 0; t < at(rope->x).size(); ++t)
      at(rope->x)[t] = reference::rope(
          at(rope->x)[t], pairs(rope->style), spec.inv_freq, static_cast<double>(spec.magnitude),
          step.n_past + static_cast<int64_t>(t), spec.n_rot, rope->n_head, rope->head_dim);
  } else if (const auto* attention = std::get_if<AttentionOp>(&op)) {
    attend(*attention, step);
  } else if (const auto* gate = std::get_if<GatedActivationOp>(&op)) {
    Rows out;
    for (size_t t = 0; t < at(gate->gate).size(); ++t)
      out.push_back(reference::gated(gate->activation == Activation::silu ? Gate::silu : Gate::gelu_tanh,
                                     at(gate->gate)[t], at(gate->up)[t]));
    at(gate->out) = out;
  } else if (const auto* add = std::get_if<AddOp>(&op)) {
    Rows out = at(add->a);
    for (size_t t = 0; t < out.size(); ++t)
      for (size_t i = 0; i < out[t].size(); ++i) out[t][i] += at(add->b)[t][i];
    at(add->out) = out;
  } else if (const auto* select = std::get_if<SelectRowsOp>(&op)) {
    Rows out;
    for (int32_t r : step.output_rows) out.push_back(at(select->in)[static_cast<size_t>(r)]);
    at(select->out) = out;
  }
}

}  // namespace nutshell::test
