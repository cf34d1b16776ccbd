// The CPU back end: plain f32 loops over weights kept in their file format. Correct for every format and
// shape.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "backend/backend.h"
#include "quant/format.h"

namespace nutshell {
namespace {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(ThreadPool& pool) : pool_(pool) {}
  Result<MemoryNeeds> plan(const Graph& g, const Extents& e) const override {
    MemoryNeeds n;
    for (const WeightSpec& w : g.weights)
      n.weights_bytes += static_cast<uint64_t>(w.n_rows * row_bytes(w.dtype, w.n_cols));
    for (const KvSpec& k : g.kv_layers)
      n.kv_bytes += static_cast<uint64_t>(e.n_ctx * k.n_head_kv * k.head_dim) * 8;
    for (const ActSpec& a : g.acts)
      n.scratch_bytes += static_cast<uint64_t>((a.per_output ? e.max_outputs : e.max_tokens) * a.width) * 4;
    return n;
  }
  Status allocate(Graph graph, const Extents& e) override {
    graph_ = std::move(graph);
    extents_ = e;
    for (const WeightSpec& w : graph_.weights) {
      weights_.emplace_back(new (std::nothrow)
                                uint8_t[static_cast<size_t>(w.n_rows * row_bytes(w.dtype, w.n_cols))]);
      if (!weights_.back()) return {ErrorCode::out_of_memory, "weights"};
    }
    for (const KvSpec& k : graph_.kv_layers)
      for (auto* cache : {&keys_, &values_})
        cache->emplace_back(
            new (std::nothrow) float[static_cast<size_t>(e.n_ctx * k.n_head_kv * k.head_dim)]);
    for (const ActSpec& a : graph_.acts)
      acts_.emplace_back(static_cast<size_t>((a.per_output ? e.max_outputs : e.max_tokens) * a.width));
    return {};
  }
  int64_t upload_row_multiple(WeightId) const override { return 16; }
  Status upload(WeightId id, int64_t row0, int64_t, std::span<const uint8_t> bytes) override {
    const WeightSpec& w = graph_.weights[static_cast<size_t>(id)];
    std::memcpy(weights_[static_cast<size_t>(id)].get() + row0 * row_bytes(w.dtype, w.n_cols), bytes.data(),
                bytes.size());
    return {};
  }
  Status run(const Step& step) override {
    const auto n = static_cast<int64_t>(step.tokens.size());
    if (n < 1 || n > extents_.max_tokens || step.n_past < 0 || step.n_past + n > extents_.n_ctx ||
        static_cast<int64_t>(step.output_rows.size()) > extents_.max_outputs)
      return {ErrorCode::invalid_argument, "step outside the extents"};
    step_ = &step;
    pool_.run([this](Worker& worker) {
      for (const Op& op : graph_.ops) {
        std::visit([&](const auto& o) { apply(o, worker); }, op);
        worker.barrier();
      }
    });
    return {};
  }
  std::span<const float> logits(int64_t i) const override {
    const auto n = static_cast<size_t>(graph_.acts[static_cast<size_t>(graph_.logits)].width);
    return std::span(acts_[static_cast<size_t>(graph_.logits)]).subspan(static_cast<size_t>(i) * n, n);
  }

 private:
  float* act(ActId id) { return acts_[static_cast<size_t>(id)].data(); }
  int64_t width(ActId id) const { return graph_.acts[static_cast<size_t>(id)].width; }
  int64_t rows(ActId id) const {
    return static_cast<int64_t>(graph_.acts[static_cast<size_t>(id)].per_output ? step_->output_rows.size()
                                                                                : step_->tokens.size());
  }
  void row(WeightId id, int64_t r, float* out) const {
    const WeightSpec& w = graph_.weights[static_cast<size_t>(id)];
    decode_row(w.dtype, weights_[static_cast<size_t>(id)].get() + r * row_bytes(w.dtype, w.n_cols), w.n_cols,
               out);
  }
  std::vector<float> vector(WeightId id) const {
    std::vector<float> v(static_cast<size_t>(graph_.weights[static_cast<size_t>(id)].n_cols));
    row(id, 0, v.data());
    return v;
  }

  void apply(const EmbedOp& o, Worker& w) {
    const auto share = w.share(rows(o.out));
    for (int64_t t = share.begin; t < share.end; ++t) {
      float* out = act(o.out) + t * width(o.out);
      row(o.table, step_->tokens[static_cast<size_t>(t)], out);
      for (int64_t i = 0; i < width(o.out); ++i) out[i] *= o.scale;
    }
  }
  void apply(const RmsNormOp& o, Worker& w) {
    const auto weight = vector(o.weight);
    const auto share = w.share(rows(o.in) * width(o.in) / o.group);
    for (int64_t g = share.begin; g < share.end; ++g) {
      const float* in = act(o.in) + g * o.group;
      float sum = 0;
      for (int64_t i = 0; i < o.group; ++i) sum += in[i] * in[i];
      const float scale = 1.0f / std::sqrt(sum / static_cast<float>(o.group) + o.eps);
      for (int64_t i = 0; i < o.group; ++i)
        act(o.out)[g * o.group + i] = in[i] * scale * weight[static_cast<size_t>(i)];
    }
  }
  void apply(const LinearOp& o, Worker& w) {
    const int64_t n_in = width(o.in);
    std::vector<float> weights(static_cast<size_t>(n_in));
    for (const LinearOp::Part& p : o.parts) {
      const std::vector<float> bias = p.bias == kNone ? std::vector<float>() : vector(p.bias);
      const auto share = w.share(width(p.out));
      for (int64_t r = share.begin; r < share.end; ++r) {
        row(p.weight, r, weights.data());
        for (int64_t t = 0; t < rows(o.in); ++t) {
          const float* x = act(o.in) + t * n_in;
          float sums[8] = {};
          for (int64_t i = 0; i + 8 <= n_in; i += 8)
            for (int64_t j = 0; j < 8; ++j) sums[j] += weights[static_cast<size_t>(i + j)] * x[i + j];
          float sum = bias.empty() ? 0.0f : bias[static_cast<size_t>(r)];
          for (int64_t i = n_in / 8 * 8; i < n_in; ++i) sum += weights[static_cast<size_t>(i)] * x[i];
          for (float s : sums) sum += s;
          float& out = act(p.out)[t * width(p.out) + r];
          out = p.accumulate ? out + sum : sum;
        }
      }
    }
  }
  void apply(const RopeOp& o, Worker& w) {
    const RopeSpec& spec = graph_.ropes[static_cast<size_t>(o.rope)];
    const int64_t half = spec.n_rot / 2;
    const auto share = w.share(rows(o.x) * o.n_head);
    for (int64_t th = share.begin; th < share.end; ++th)
      for (int64_t i = 0; i < half; ++i) {
        float* x = act(o.x) + th * o.head_dim;
        float& a = o.style == RopeStyle::interleaved ? x[2 * i] : x[i];
        float& b = o.style == RopeStyle::interleaved ? x[2 * i + 1] : x[i + half];
        const double angle =
            static_cast<double>(step_->n_past + th / o.n_head) * spec.inv_freq[static_cast<size_t>(i)];
        const float c = static_cast<float>(std::cos(angle)) * spec.magnitude,
                    s = static_cast<float>(std::sin(angle)) * spec.magnitude;
        const float rotated = a * c - b * s;
        b = a * s + b * c;
        a = rotated;
      }
  }
  void apply(const AttentionOp& o, Worker& w) {
    const int64_t n_kv = o.n_head_kv * o.head_dim, n = rows(o.q);
    float* keys = keys_[static_cast<size_t>(o.layer)].get();
    float* values = values_[static_cast<size_t>(o.layer)].get();
    if (w.thread() == 0) {
      std::copy_n(act(o.k), n * n_kv, keys + step_->n_past * n_kv);
      std::copy_n(act(o.v), n * n_kv, values + step_->n_past * n_kv);
    }
    w.barrier();
    const auto share = w.share(n * o.n_head);
    std::vector<float> scores(static_cast<size_t>(step_->n_past + n));
    for (int64_t th = share.begin; th < share.end; ++th) {
      const int64_t position = step_->n_past + th / o.n_head, kv = th % o.n_head / (o.n_head / o.n_head_kv);
      const int64_t first = o.window > 0 ? std::max<int64_t>(0, position - o.window + 1) : 0;
      const float* q = act(o.q) + th * o.head_dim;
      float* out = act(o.out) + th * o.head_dim;
      float top = -INFINITY, sum = 0;
      for (int64_t p = first; p <= position; ++p) {
        float score = 0;
        for (int64_t i = 0; i < o.head_dim; ++i) score += q[i] * keys[p * n_kv + kv * o.head_dim + i];
        score *= o.scale;
        if (o.softcap > 0) score = o.softcap * std::tanh(score / o.softcap);
        scores[static_cast<size_t>(p)] = score;
        top = std::max(top, score);
      }
      std::fill(out, out + o.head_dim, 0.0f);
      for (int64_t p = first; p <= position; ++p)
        sum += scores[static_cast<size_t>(p)] = std::exp(scores[static_cast<size_t>(p)] - top);
      for (int64_t p = first; p <= position; ++p)
        for (int64_t i = 0; i < o.head_dim; ++i)
          out[i] += scores[static_cast<size_t>(p)] / sum * values[p * n_kv + kv * o.head_dim + i];
    }
  }
  void apply(const GatedActivationOp& o, Worker& w) {
    const auto share = w.share(rows(o.out) * width(o.out));
    for (int64_t i = share.begin; i < share.end; ++i) {
      const float g = act(o.gate)[i];
      const float a = o.activation == Activation::silu
                          ? g / (1.0f + std::exp(-g))
                          : 0.5f * g * (1.0f + std::tanh(0.7978845608f * (g + 0.044715f * g * g * g)));
      act(o.out)[i] = a * act(o.up)[i];
    }
  }
  void apply(const AddOp& o, Worker& w) {
    const auto share = w.share(rows(o.out) * width(o.out));
    for (int64_t i = share.begin; i < share.end; ++i) act(o.out)[i] = act(o.a)[i] + act(o.b)[i];
  }
  void apply(const SelectRowsOp& o, Worker& w) {
    const auto share = w.share(rows(o.out));
    for (int64_t i = share.begin; i < share.end; ++i)
      std::copy_n(act(o.in) + step_->output_rows[static_cast<size_t>(i)] * width(o.in), width(o.in),
                  act(o.out) + i * width(o.out));
  }

  ThreadPool& pool_;
  Graph graph_;
  Extents extents_;
  std::vector<std::unique_ptr<uint8_t[]>> weights_;
  std::vector<std::unique_ptr<float[]>> keys_, values_;
  std::vector<std::vector<float>> acts_;
  const Step* step_ = nullptr;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(ThreadPool& pool) { return std::make_unique<CpuBackend>(pool); }

}  // namespace nutshell
