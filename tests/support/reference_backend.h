// A back end in plain double-precision loops: the oracle for whole graphs. No packing, no int8 activations,
// no shared buffers; keys and values are kept as doubles. Slow, short, and obviously right.
#pragma once

#include <cmath>
#include <vector>

#include "backend/backend.h"
#include "kernels/reference.h"
#include "quant/format.h"
#include "quant/trellis.h"

namespace nutshell::test {

class ReferenceBackend final : public Backend {
 public:
  Result<MemoryNeeds> plan(const Graph&, const Extents&) const override { return MemoryNeeds{}; }
  Status allocate(Graph graph, const Extents&) override {
    graph_ = std::move(graph);
    weights_.assign(graph_.weights.size(), {});
    keys_.assign(graph_.kv_layers.size(), {});
    values_.assign(graph_.kv_layers.size(), {});
    convolved_.assign(graph_.conv_layers.size(), {});
    for (size_t i = 0; i < weights_.size(); ++i)
      weights_[i].resize(static_cast<size_t>(graph_.weights[i].n_rows * graph_.weights[i].n_cols));
    return {};
  }
  int64_t upload_row_multiple(WeightId) const override { return kTrellisRows; }
  Status upload(WeightId id, int64_t row0, int64_t n_rows, std::span<const uint8_t> bytes) override {
    const WeightSpec& w = graph_.weights[static_cast<size_t>(id)];
    std::vector<float> row(static_cast<size_t>(w.n_cols));
    if (is_trellis(w.dtype)) {
      for (int64_t r = 0; r < n_rows; ++r) {
        const TrellisRun* run = &w.coded.runs[0];  // that row0 lies in
        for (const TrellisRun& next : w.coded.runs)
          if (next.first_row <= row0) run = &next;
        decode_trellis_row(run->dtype, run->code,
                           bytes.data() + r / 16 * trellis_superrow_bytes(run->dtype, w.n_cols),
                           static_cast<int>(r % 16), w.n_cols, row.data());
        const int64_t to = w.coded.order.empty() ? row0 + r : w.coded.order[static_cast<size_t>(row0 + r)];
        std::copy(row.begin(), row.end(), weights_[static_cast<size_t>(id)].begin() + to * w.n_cols);
      }
      return {};
    }
    for (int64_t r = 0; r < n_rows; ++r) {
      decode_row(w.dtype, bytes.data() + r * row_bytes(w.dtype, w.n_cols), w.n_cols, row.data());
      std::copy(row.begin(), row.end(), weights_[static_cast<size_t>(id)].begin() + (row0 + r) * w.n_cols);
    }
    return {};
  }
  Status run(const Step& step) override {
    step_ = &step;
    n_tokens_ = static_cast<int64_t>(step.tokens.size());
    acts_.assign(graph_.acts.size(), {});
    for (size_t i = 0; i < acts_.size(); ++i) {
      const int64_t rows =
          graph_.acts[i].per_output ? static_cast<int64_t>(step.output_rows.size()) : n_tokens_;
      acts_[i].resize(static_cast<size_t>(rows * graph_.acts[i].width));
    }
    for (const Op& op : graph_.ops) std::visit([this](const auto& o) { apply(o); }, op);
    logits_.assign(act(graph_.logits).begin(), act(graph_.logits).end());
    return {};
  }
  std::span<const float> logits(int64_t i) const override {
    const auto n = static_cast<size_t>(graph_.acts[static_cast<size_t>(graph_.logits)].width);
    return std::span(logits_).subspan(static_cast<size_t>(i) * n, n);
  }

 private:
  using Doubles = std::vector<double>;
  Doubles& act(ActId id) { return acts_[static_cast<size_t>(id)]; }
  int64_t width(ActId id) const { return graph_.acts[static_cast<size_t>(id)].width; }
  int64_t rows(ActId id) { return static_cast<int64_t>(act(id).size()) / width(id); }
  const Doubles& weight(WeightId id) const { return weights_[static_cast<size_t>(id)]; }

  void apply(const EmbedOp& o) {
    const int64_t n = width(o.out);
    for (int64_t t = 0; t < n_tokens_; ++t)
      for (int64_t i = 0; i < n; ++i)
        act(o.out)[static_cast<size_t>(t * n + i)] =
            (o.accumulate ? act(o.out)[static_cast<size_t>(t * n + i)] : 0.0) +
            weight(o.table)[static_cast<size_t>(embedded_row(o.by, t) * n + i)] *
                static_cast<double>(o.scale);
    if (o.rotation != kNone) act(o.out) = rotated(act(o.out), n, o.rotation, true);
  }
  int64_t embedded_row(EmbedBy by, int64_t t) const {
    if (by == EmbedBy::token) return step_->tokens[static_cast<size_t>(t)];
    return by == EmbedBy::position ? step_->n_past + t : 0;
  }
  void apply(const LayerNormOp& o) {
    const Doubles in = act(o.in);
    const auto n = static_cast<size_t>(width(o.in));
    for (size_t r = 0; r < in.size(); r += n) {
      double mean = 0, variance = 0;
      for (size_t i = 0; i < n; ++i) mean += in[r + i] / static_cast<double>(n);
      for (size_t i = 0; i < n; ++i)
        variance += (in[r + i] - mean) * (in[r + i] - mean) / static_cast<double>(n);
      for (size_t i = 0; i < n; ++i)
        act(o.out)[r + i] =
            (in[r + i] - mean) / std::sqrt(variance + static_cast<double>(o.eps)) * weight(o.weight)[i] +
            (o.bias == kNone ? 0.0 : weight(o.bias)[i]);
    }
  }
  void apply(const SoftcapOp& o) {
    for (double& x : act(o.x)) x = static_cast<double>(o.cap) * std::tanh(x / static_cast<double>(o.cap));
  }
  Doubles rotated(const Doubles& in, int64_t width, int32_t rotation, bool back) const {
    Doubles out;
    for (auto row = in.begin(); row != in.end(); row += width) {
      const Doubles turned = reference::rotate(Doubles(row, row + width),
                                               graph_.rotations[static_cast<size_t>(rotation)].seed, back);
      out.insert(out.end(), turned.begin(), turned.end());
    }
    return out;
  }
  void apply(const RmsNormOp& o) {
    const Doubles in = act(o.in);
    for (size_t g = 0; g < in.size(); g += static_cast<size_t>(o.group)) {
      double sum = 0;
      for (size_t i = g; i < g + static_cast<size_t>(o.group); ++i) sum += in[i] * in[i];
      const double scale = 1.0 / std::sqrt(sum / static_cast<double>(o.group) + static_cast<double>(o.eps));
      for (size_t i = 0; i < static_cast<size_t>(o.group); ++i)
        act(o.out)[g + i] = in[g + i] * scale * weight(o.weight)[i];
    }
  }
  void apply(const LinearOp& o) {
    const Doubles in = o.rotation == kNone ? act(o.in) : rotated(act(o.in), width(o.in), o.rotation, false);
    for (const LinearOp::Part& p : o.parts) {
      const int64_t n_in = width(o.in), n_out = width(p.out);
      for (int64_t t = 0; t < rows(o.in); ++t)
        for (int64_t r = 0; r < n_out; ++r) {
          double sum = p.bias == kNone ? 0.0 : weight(p.bias)[static_cast<size_t>(r)];
          for (int64_t i = 0; i < n_in; ++i)
            sum +=
                weight(p.weight)[static_cast<size_t>(r * n_in + i)] * in[static_cast<size_t>(t * n_in + i)];
          double& out = act(p.out)[static_cast<size_t>(t * n_out + r)];
          out = p.accumulate ? out + sum : sum;
        }
    }
  }
  void apply(const RopeOp& o) {
    const RopeSpec& spec = graph_.ropes[static_cast<size_t>(o.rope)];
    const int64_t half = spec.n_rot / 2;
    for (int64_t t = 0; t < n_tokens_; ++t)
      for (int64_t h = 0; h < o.n_head; ++h)
        for (int64_t i = 0; i < half; ++i) {
          double* x = act(o.x).data() + (t * o.n_head + h) * o.head_dim + o.offset;
          double& a = o.style == RopeStyle::interleaved ? x[2 * i] : x[i];
          double& b = o.style == RopeStyle::interleaved ? x[2 * i + 1] : x[i + half];
          const double angle = static_cast<double>(step_->n_past + t) * spec.inv_freq[static_cast<size_t>(i)];
          const double c = std::cos(angle) * static_cast<double>(spec.magnitude),
                       s = std::sin(angle) * static_cast<double>(spec.magnitude);
          const double rotated = a * c - b * s;
          b = a * s + b * c;
          a = rotated;
        }
  }
  void apply(const AttentionOp& o) {
    Doubles &keys = keys_[static_cast<size_t>(o.layer)], &values = values_[static_cast<size_t>(o.layer)];
    keys.resize(static_cast<size_t>(step_->n_past * o.n_head_kv * o.head_dim));
    values.resize(static_cast<size_t>(step_->n_past * o.n_head_kv * o.head_dim_v));
    keys.insert(keys.end(), act(o.k).begin(), act(o.k).end());
    values.insert(values.end(), act(o.v).begin(), act(o.v).end());
    for (int64_t t = 0; t < n_tokens_; ++t)
      for (int64_t h = 0; h < o.n_head; ++h) attend_head(o, t, h, keys, values);
  }
  void attend_head(const AttentionOp& o, int64_t t, int64_t h, const Doubles& keys, const Doubles& values) {
    const int64_t position = step_->n_past + t, kv_head = h / (o.n_head / o.n_head_kv);
    const int64_t first = o.window > 0 ? std::max<int64_t>(0, position - o.window + 1) : 0;
    const double* q = act(o.q).data() + (t * o.n_head + h) * o.head_dim;
    double* out = act(o.out).data() + (t * o.n_head + h) * o.head_dim_v;
    const int64_t last = o.causal ? position : step_->n_past + n_tokens_ - 1;
    Doubles scores;
    double top = -INFINITY, sum = 0;
    for (int64_t p = first; p <= last; ++p) {
      const double* k = keys.data() + (p * o.n_head_kv + kv_head) * o.head_dim;
      double score = 0;
      for (int64_t i = 0; i < o.head_dim; ++i) score += q[i] * k[i];
      score *= static_cast<double>(o.scale);
      if (o.softcap > 0)
        score = static_cast<double>(o.softcap) * std::tanh(score / static_cast<double>(o.softcap));
      top = std::max(top, score);
      scores.push_back(score);
    }
    if (o.sinks != kNone) sum = std::exp(weight(o.sinks)[static_cast<size_t>(h)] - top);
    for (double& s : scores) sum += s = std::exp(s - top);
    std::fill(out, out + o.head_dim_v, 0.0);
    for (int64_t p = first; p <= last; ++p)
      for (int64_t i = 0; i < o.head_dim_v; ++i)
        out[i] += scores[static_cast<size_t>(p - first)] / sum *
                  values[static_cast<size_t>((p * o.n_head_kv + kv_head) * o.head_dim_v + i)];
  }
  void apply(const GatedActivationOp& o) {
    for (size_t i = 0; i < act(o.out).size(); ++i) {
      act(o.out)[i] = gated(o.activation, act(o.gate)[i], o.up == kNone ? 1.0 : act(o.up)[i]);
    }
  }
  static double gated(Activation activation, double g, double u) {
    if (activation == Activation::silu) return g / (1.0 + std::exp(-g)) * u;
    if (activation == Activation::gelu_tanh)
      return 0.5 * g * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (g + 0.044715 * g * g * g))) * u;
    if (activation == Activation::gelu_erf) return 0.5 * g * (1.0 + std::erf(g / std::sqrt(2.0))) * u;
    g = std::min(g, 7.0);
    return g / (1.0 + std::exp(-1.702 * g)) * (std::max(-7.0, std::min(u, 7.0)) + 1.0);
  }
  void apply(const CopyHeadsOp& o) {
    for (int64_t t = 0; t < rows(o.in); ++t)
      for (int64_t h = 0; h < o.n_head; ++h)
        std::copy_n(act(o.in).begin() + t * width(o.in) + o.in_offset + h * o.in_stride, o.width,
                    act(o.out).begin() + t * width(o.out) + o.out_offset + h * o.out_stride);
  }
  // y[i] = row i of matrix `slice` times x, plus the bias' row.
  Doubles product(WeightId id, int64_t slice, const double* x, WeightId bias) const {
    const WeightSpec& w = graph_.weights[static_cast<size_t>(id)];
    const int64_t n_rows = w.n_rows / w.n_slices;
    Doubles y(static_cast<size_t>(n_rows));
    for (int64_t r = 0; r < n_rows; ++r) {
      double& sum = y[static_cast<size_t>(r)];
      if (bias != kNone) sum = weight(bias)[static_cast<size_t>(slice * n_rows + r)];
      for (int64_t i = 0; i < w.n_cols; ++i)
        sum += weight(id)[static_cast<size_t>((slice * n_rows + r) * w.n_cols + i)] * x[i];
    }
    return y;
  }
  void apply(const HeadLinearOp& o) {
    for (int64_t t = 0; t < rows(o.in); ++t)
      for (int64_t h = 0; h < o.n_head; ++h) {
        const Doubles y = product(o.weight, h, act(o.in).data() + t * width(o.in) + h * o.in_stride, kNone);
        std::copy(y.begin(), y.end(), act(o.out).begin() + t * width(o.out) + h * o.out_stride);
      }
  }
  void apply(const ExpertsOp& o) {
    RouterShape r{o.n_expert,
                  o.n_used,
                  static_cast<RouterScores>(o.router.scores),
                  o.router.normalize,
                  o.router.scale,
                  o.router.n_group,
                  o.router.n_group_used,
                  o.router.group_best};
    std::vector<float> bias;
    if (o.selection_bias != kNone)
      bias.assign(weight(o.selection_bias).begin(), weight(o.selection_bias).end());
    for (int64_t t = 0; t < rows(o.in); ++t) {
      const double* x = act(o.in).data() + t * width(o.in);
      const auto logits = act(o.logits).begin() + t * o.n_expert;
      const reference::Routing routing = reference::route(r, Doubles(logits, logits + o.n_expert), bias);
      for (size_t i = 0; i < routing.experts.size(); ++i) {
        const int64_t e = routing.experts[i];
        Doubles gate = product(o.gate, e, x, o.gate_bias);
        const Doubles up = product(o.up, e, x, o.up_bias);
        for (size_t f = 0; f < gate.size(); ++f) gate[f] = gated(o.activation, gate[f], up[f]);
        const Doubles y = product(o.down, e, gate.data(), o.down_bias);
        for (size_t c = 0; c < y.size(); ++c)
          act(o.out)[static_cast<size_t>(t * width(o.out)) + c] += routing.weights[i] * y[c];
      }
    }
  }
  void apply(const ShortConvOp& o) {
    Doubles& state = convolved_[static_cast<size_t>(o.layer)];
    state.resize(static_cast<size_t>(step_->n_past * o.width));
    for (int64_t t = 0; t < n_tokens_; ++t) {
      const double *b = act(o.in).data() + t * 3 * o.width, *c = b + o.width, *x = c + o.width;
      for (int64_t i = 0; i < o.width; ++i) state.push_back(b[i] * x[i]);
      const int64_t position = step_->n_past + t;
      for (int64_t i = 0; i < o.width; ++i) {
        double sum = 0;
        for (int64_t back = 0; back < o.kernel && back <= position; ++back)
          sum += weight(o.weight)[static_cast<size_t>(i * o.kernel + o.kernel - 1 - back)] *
                 state[static_cast<size_t>((position - back) * o.width + i)];
        act(o.out)[static_cast<size_t>(t * o.width + i)] = c[i] * sum;
      }
    }
  }
  void apply(const AddOp& o) {
    for (size_t i = 0; i < act(o.out).size(); ++i) act(o.out)[i] = act(o.a)[i] + act(o.b)[i];
  }
  void apply(const SelectRowsOp& o) {
    const auto n = static_cast<size_t>(width(o.in));
    for (size_t i = 0; i < step_->output_rows.size(); ++i)
      std::copy_n(
          act(o.in).begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(step_->output_rows[i]) * n), n,
          act(o.out).begin() + static_cast<std::ptrdiff_t>(i * n));
  }

  Graph graph_;
  std::vector<Doubles> weights_, acts_, keys_, values_, convolved_;
  std::vector<float> logits_;
  const Step* step_ = nullptr;
  int64_t n_tokens_ = 0;
};

}  // namespace nutshell::test
