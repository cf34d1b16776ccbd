#include "unit/backend/reference_runner.h"

#include <algorithm>
#include <cmath>

#include "kernels/packed.h"

namespace nutshell::test {

using reference::Row;

namespace {

Gate gate_of(Activation a) {
  if (a == Activation::swiglu_clamped) return Gate::swiglu_clamped;
  if (a == Activation::gelu_erf) return Gate::gelu_erf;
  return a == Activation::silu ? Gate::silu : Gate::gelu_tanh;
}

}  // namespace

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

// Matrix `slice` of a 3-D tensor times x, plus that row of the bias.
Row ReferenceRunner::product(WeightId id, int64_t slice, const Row& x, WeightId bias) {
  const HostWeight& w = w_[static_cast<size_t>(id)];
  const auto rows = static_cast<size_t>(w.spec.n_rows / w.spec.n_slices),
             cols = static_cast<size_t>(w.spec.n_cols);
  const bool packed = has_packed(w.spec.dtype) && rows % 16 == 0;
  const std::span<const float> values =
      std::span(w.values).subspan(static_cast<size_t>(slice) * rows * cols, rows * cols);
  std::span<const float> offset;
  if (bias != kNone)
    offset = std::span(w_[static_cast<size_t>(bias)].values).subspan(static_cast<size_t>(slice) * rows, rows);
  return reference::linear(values, static_cast<int64_t>(rows), w.spec.n_cols,
                           packed ? reference::quantized(x) : x, offset);
}

void ReferenceRunner::route_and_mix(const ExpertsOp& o) {
  RouterShape r;
  r.n_expert = o.n_expert;
  r.n_used = o.n_used;
  r.scores = static_cast<RouterScores>(o.router.scores);
  r.normalize = o.router.normalize;
  r.scale = o.router.scale;
  r.n_group = o.router.n_group;
  r.n_group_used = o.router.n_group_used;
  r.group_best = o.router.group_best;
  const Gate gate = o.activation == Activation::silu        ? Gate::silu
                    : o.activation == Activation::gelu_tanh ? Gate::gelu_tanh
                                                            : Gate::swiglu_clamped;
  std::span<const float> bias;
  if (o.selection_bias != kNone) bias = w_[static_cast<size_t>(o.selection_bias)].values;
  for (size_t t = 0; t < at(o.in).size(); ++t) {
    const Row& x = at(o.in)[t];
    const reference::Routing routing = reference::route(r, at(o.logits)[t], bias);
    for (size_t i = 0; i < routing.experts.size(); ++i) {
      const int64_t e = routing.experts[i];
      const Row y =
          product(o.down, e,
                  reference::gated(gate, product(o.gate, e, x, o.gate_bias), product(o.up, e, x, o.up_bias)),
                  o.down_bias);
      for (size_t c = 0; c < y.size(); ++c) at(o.out)[t][c] += routing.weights[i] * y[c];
    }
  }
}

void ReferenceRunner::convolve(const ShortConvOp& o, const Step& step) {
  Rows& state = convolved_[o.layer];
  state.resize(static_cast<size_t>(step.n_past));
  const auto width = static_cast<size_t>(o.width), kernel = static_cast<size_t>(o.kernel);
  const std::vector<float>& weights = w_[static_cast<size_t>(o.weight)].values;
  Rows out;
  for (const Row& bcx : at(o.in)) {
    Row y(width), result(width);
    for (size_t c = 0; c < width; ++c) y[c] = bcx[c] * bcx[2 * width + c];
    state.push_back(y);
    for (size_t c = 0; c < width; ++c) {
      for (size_t back = 0; back < kernel && back < state.size(); ++back)
        result[c] +=
            static_cast<double>(weights[c * kernel + kernel - 1 - back]) * state[state.size() - 1 - back][c];
      result[c] *= bcx[width + c];
    }
    out.push_back(result);
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
          step.n_past + static_cast<int64_t>(t), spec.n_rot, rope->n_head, rope->head_dim, rope->offset);
  } else if (const auto* attention = std::get_if<AttentionOp>(&op)) {
    attend(*attention, step);
  } else if (const auto* gate = std::get_if<GatedActivationOp>(&op)) {
    Rows out;
    for (size_t t = 0; t < at(gate->gate).size(); ++t)
      out.push_back(reference::gated(gate_of(gate->activation), at(gate->gate)[t],
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
  } else if (const auto* experts = std::get_if<ExpertsOp>(&op)) {
    route_and_mix(*experts);
  } else if (const auto* conv = std::get_if<ShortConvOp>(&op)) {
    convolve(*conv, step);
  } else if (const auto* copy = std::get_if<CopyHeadsOp>(&op)) {
    at(copy->out).resize(at(copy->in).size(),
                         Row(static_cast<size_t>(g_.acts[static_cast<size_t>(copy->out)].width)));
    for (size_t t = 0; t < at(copy->in).size(); ++t)
      for (int64_t h = 0; h < copy->n_head; ++h)
        for (int64_t i = 0; i < copy->width; ++i)
          at(copy->out)[t][static_cast<size_t>(copy->out_offset + h * copy->out_stride + i)] =
              at(copy->in)[t][static_cast<size_t>(copy->in_offset + h * copy->in_stride + i)];
  } else if (const auto* heads = std::get_if<HeadLinearOp>(&op)) {
    const auto cols = static_cast<std::ptrdiff_t>(weight(heads->weight).spec.n_cols);
    at(heads->out)
        .resize(at(heads->in).size(),
                Row(static_cast<size_t>(g_.acts[static_cast<size_t>(heads->out)].width)));
    for (size_t t = 0; t < at(heads->in).size(); ++t)
      for (int64_t h = 0; h < heads->n_head; ++h) {
        const auto from = at(heads->in)[t].begin() + h * heads->in_stride;
        const Row y = product(heads->weight, h, Row(from, from + cols), kNone);
        std::copy(y.begin(), y.end(), at(heads->out)[t].begin() + h * heads->out_stride);
      }
  }
}

}  // namespace nutshell::test
