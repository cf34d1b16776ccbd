#include "unit/backend/reference_runner.h"

#include <cmath>

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
  for (size_t t = 0; t < step.tokens.size(); ++t) {
    keys.push_back(reference::kv_row(at(o.k)[t], o.head_dim));
    values.push_back(reference::kv_row(at(o.v)[t], o.head_dim_v));
  }
  Rows out;
  for (size_t t = 0; t < step.tokens.size(); ++t) {
    const auto last = static_cast<int64_t>(o.causal ? t : step.tokens.size() - 1);
    const std::span<const float> sinks =
        o.sinks == kNone ? std::span<const float>{} : w_[static_cast<size_t>(o.sinks)].values;
    out.push_back(
        reference::attend({o.n_head, o.n_head_kv, o.head_dim, o.head_dim_v, static_cast<double>(o.scale),
                           o.window, static_cast<double>(o.softcap), sinks},
                          at(o.q)[t], keys, values, step.n_past + last));
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
    for (size_t t = 0; t < step.tokens.size(); ++t) {
      const size_t at_row = e->by == EmbedBy::token      ? static_cast<size_t>(step.tokens[t])
                            : e->by == EmbedBy::position ? static_cast<size_t>(step.n_past) + t
                                                         : 0;
      Row row;
      for (size_t i = 0; i < n; ++i)
        row.push_back(static_cast<double>(weight(e->table).values[at_row * n + i] * e->scale) +
                      (e->accumulate ? at(e->out)[t][i] : 0.0));
      out.push_back(row);
    }
    at(e->out) = out;
  } else if (const auto* norm = std::get_if<RmsNormOp>(&op)) {
    Rows out;
    for (const Row& r : at(norm->in))
      out.push_back(
          reference::rms_norm(r, weight(norm->weight).values, norm->group, static_cast<double>(norm->eps)));
    at(norm->out) = out;
  } else if (const auto* layer = std::get_if<LayerNormOp>(&op)) {
    Rows out;
    for (const Row& r : at(layer->in))
      out.push_back(
          reference::layer_norm(r, weight(layer->weight).values,
                                layer->bias == kNone ? std::span<const float>{} : weight(layer->bias).values,
                                static_cast<double>(layer->eps)));
    at(layer->out) = out;
  } else if (const auto* cap = std::get_if<SoftcapOp>(&op)) {
    for (Row& r : at(cap->x))
      for (double& x : r) x = static_cast<double>(cap->cap) * std::tanh(x / static_cast<double>(cap->cap));
  } else if (const auto* linear = std::get_if<LinearOp>(&op)) {
    for (const LinearOp::Part& p : linear->parts) {
      const HostWeight& w = weight(p.weight);
      Rows out;
      for (const Row& r : at(linear->in)) {
        const Row x = has_packed(w.spec.dtype) ? reference::quantized(r) : r;
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
      out.push_back(reference::gated(static_cast<Gate>(gate->activation), at(gate->gate)[t],
                                     gate->up == kNone ? Row{} : at(gate->up)[t]));
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
