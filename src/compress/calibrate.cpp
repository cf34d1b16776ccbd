#include "compress/calibrate.h"

#include <algorithm>

#include "base/rng.h"
#include "compress/embedding.h"
#include "compress/items.h"
#include "compress/quantize.h"

namespace nutshell::compress {
namespace {

// Adds a window to what lacks it.
class Gatherer : public GradientObserver {
 public:
  Gatherer(const Graph& graph, const MeasureOptions& options, Statistics& s, ThreadPool& pool)
      : graph_(graph), options_(options), s_(s), pool_(pool) {}

  int64_t window = 0;
  std::vector<float> head_weight;  // per token: sum over the vocabulary of p (1 - p)

  void on_linear(const LinearOp& op, const Matrix& x, std::span<const Matrix> gradients) override {
    if (op.parts[0].out == graph_.logits) {
      if (s_.windows == window) add(x, head_weight, s_.head_inputs);
      return;
    }
    // A token's weight: half as much as any other's, half by the size of its gradient, each part counting
    // alike.
    Eigen::VectorXf weight = Eigen::VectorXf::Zero(x.rows());
    for (size_t p = 0; p < gradients.size(); ++p) {
      const Eigen::VectorXf size = gradients[p].rowwise().squaredNorm();
      const float mean = std::max(size.mean(), 1e-30f);
      add_outputs(s_.outputs[static_cast<size_t>(op.parts[p].weight)], gradients[p], size, mean);
      weight.array() += (0.5f + 0.5f * size.array() / mean) / static_cast<float>(gradients.size());
    }
    const auto first = static_cast<size_t>(op.parts[0].weight);
    if (s_.windows == window) {
      std::vector<float>& all = s_.token_weights[first];
      all.insert(all.end(), weight.begin(), weight.end());
    }
    if (Gathered& inputs = s_.inputs[first]; begin(inputs, x.cols()))
      add_inputs(pool_, x, {weight.data(), static_cast<size_t>(weight.size())}, options_.seed,
                 inputs.moments);
  }

  // Tables of positions add to what the token's gives: the same gradient.
  void on_embed(const EmbedOp& op, std::span<const int32_t>, const Matrix& gradient) override {
    if (op.by == EmbedBy::token && s_.windows == window) add(gradient, {}, s_.embed_gradients);
  }

  // Second moments of n_tokens tokens as estimates of those of all text. A gradient's size is heavy-tailed: a
  // few tokens would rule the moments, so each counts by |g| instead of |g|^2, and the trace is mended. What
  // is off the diagonal shrinks by the share of it that is noise (Ledoit and Wolf 2004, with the diagonal as
  // the target). On other text than they come from, 16,384 tokens' moments without either are worse than the
  // diagonal alone for attn_v and ffn_gate of SmolLM2 (errors 1.24 and 1.14 to 1); so they are .93 and .99.
  static void finish(double n, const GradientSums& sums, Matrix& h) {
    if (!(h.trace() > 0)) return;
    h *= static_cast<float>(1.0 / n);
    const Eigen::VectorXf diagonal = h.diagonal();
    const double off = static_cast<double>(h.squaredNorm()) - static_cast<double>(diagonal.squaredNorm()),
                 noise = (sums.products / n - off) / n;
    h *= off > 0 ? static_cast<float>(1 - std::clamp(noise / off, 0.0, 1.0)) : 1.0f;
    h.diagonal() = diagonal;
    h *= static_cast<float>(sums.sizes / n / static_cast<double>(diagonal.sum()));
  }

 private:
  // Whether the window is to be added to it.
  bool begin(Gathered& gathered, int64_t n) const {
    if (gathered.windows != window) return false;
    if (gathered.moments.n == 0) {
      gathered.moments = zero_moments(n, options_.most_moments);
      gathered.sums.assign(gathered.moments.blocks.size(), {});
    }
    return true;
  }

  void add_outputs(Gathered& outputs, const Matrix& g, const Eigen::VectorXf& size, float mean) {
    if (!begin(outputs, g.cols())) return;
    Moments& m = outputs.moments;
    const Eigen::VectorXf weight = (mean / (size.array() + 1e-4f * mean)).sqrt();
    add_moments(pool_, g, {weight.data(), static_cast<size_t>(weight.size())}, m);
    for (size_t b = 0; b < m.blocks.size(); ++b) {
      const auto part = g.middleCols(static_cast<int64_t>(b) * m.block, m.blocks[b].cols());
      for (int64_t t = 0; t < g.rows(); ++t) {
        const double w = static_cast<double>(weight(t)), s = static_cast<double>(part.row(t).squaredNorm());
        outputs.sums[b].sizes += s;
        outputs.sums[b].products +=
            w * w * (s * s - static_cast<double>(part.row(t).array().square().square().sum()));
      }
    }
  }

  void add(const Matrix& x, std::span<const float> weight, Matrix& h) {
    if (h.size() == 0) h = Matrix::Zero(x.cols(), x.cols());
    add_gram(pool_, x, weight, h);
  }

  const Graph& graph_;
  const MeasureOptions options_;
  Statistics& s_;
  ThreadPool& pool_;
};

// What the output matrix gives is capped to so much; 0: to nothing.
float cap_of_logits(const Graph& graph) {
  for (const Op& op : graph.ops)
    if (const auto* softcap = std::get_if<SoftcapOp>(&op); softcap && softcap->x == graph.logits)
      return softcap->cap;
  return 0;
}

// logits become the gradient of -log p(sampled token): p - one-hot. Adds to the head's moments, unless s is
// none. cap: of the logits; the slope of what is capped is 1 - (logit / cap)^2.
void sample_gradient(Matrix& p, float cap, uint64_t seed, uint64_t first_index, Statistics* s,
                     std::vector<float>& head_weight, ThreadPool& pool) {
  Matrix squared_slopes;
  if (cap > 0) squared_slopes = (1.0f - (p.array() / cap).square()).square();
  softmax_rows(pool, p);
  constexpr int64_t kTile = 1024;
  for_items(pool, s == nullptr ? 0 : (p.cols() + kTile - 1) / kTile, [&](int64_t i) {
    for (int64_t v = i * kTile; v < std::min(p.cols(), (i + 1) * kTile); ++v) {
      float sum = 0, squares = 0;
      for (int64_t t = 0; t < p.rows(); ++t) {
        sum += p(t, v);
        squares += p(t, v) * p(t, v);
      }
      s->token_shares[static_cast<size_t>(v)] += sum;
      s->head_rows[static_cast<size_t>(v)] +=
          cap > 0 ? (p.col(v).array() * (1.0f - p.col(v).array()) * squared_slopes.col(v).array()).sum()
                  : sum - squares;
    }
  });
  head_weight.resize(static_cast<size_t>(p.rows()));
  for_items(pool, p.rows(), [&](int64_t t) {
    head_weight[static_cast<size_t>(t)] =
        cap > 0 ? (p.row(t).array() * (1.0f - p.row(t).array()) * squared_slopes.row(t).array()).sum()
                : 1.0f - p.row(t).squaredNorm();
    double left = uniform_01(seed, first_index + static_cast<uint64_t>(t));
    int64_t v = 0;
    while (v + 1 < p.cols() && (left -= static_cast<double>(p(t, v))) > 0) ++v;
    p(t, v) -= 1.0f;
  });
}

// What lacked window i has had it; after the last one, of n_tokens in all, sums become means and estimates.
void add_window(Statistics& s, int64_t i, bool last, int64_t n_tokens) {
  const float by = 1.0f / static_cast<float>(std::max<int64_t>(1, n_tokens));
  for (const GatheredOf& of : all_gathered(s)) {
    Gathered& g = of.in(s);
    if (g.windows != i) continue;
    ++g.windows;
    if (!last) continue;
    if (!of.outputs) g.moments *= by;
    for (size_t b = 0; of.outputs && b < g.moments.blocks.size(); ++b)
      Gatherer::finish(static_cast<double>(n_tokens), g.sums[b], g.moments.blocks[b]);
  }
  if (s.windows != i) return;
  ++s.windows;
  s.n_tokens = n_tokens;
  if (!last) return;
  s.head_inputs *= by;
  s.embed_gradients *= by;
  for (float& v : s.head_rows) v *= by;
  for (float& v : s.token_shares) v *= by;
}

}  // namespace

void add_inputs(ThreadPool& pool, const Matrix& x, std::span<const float> weight, uint64_t seed, Moments& m) {
  if (!m.cut()) return add_moments(pool, x, weight, m);
  Matrix turned = x;
  to_code_space(pool, seed, turned);
  add_moments(pool, turned, weight, m);
}

Statistics no_statistics(const Graph& graph) {
  Statistics s;
  size_t n_vocab = 0;
  for (const Op& op : graph.ops)
    if (const auto* embed = std::get_if<EmbedOp>(&op); embed != nullptr && embed->by == EmbedBy::token)
      n_vocab = static_cast<size_t>(graph.weights[static_cast<size_t>(embed->table)].n_rows);
  s.inputs.resize(graph.weights.size());
  s.outputs.resize(graph.weights.size());
  s.token_weights.resize(graph.weights.size());
  s.input_of.assign(graph.weights.size(), kNone);
  for (const Op& op : graph.ops)
    if (const auto* linear = std::get_if<LinearOp>(&op);
        linear != nullptr && linear->parts[0].out != graph.logits)
      for (const LinearOp::Part& part : linear->parts)
        s.input_of[static_cast<size_t>(part.weight)] = linear->parts[0].weight;
  s.head_rows.assign(n_vocab, 0);
  s.token_shares.assign(n_vocab, 0);
  return s;
}

std::vector<GatheredOf> all_gathered(const Statistics& s) {
  std::vector<GatheredOf> all;
  for (size_t i = 0; i < s.input_of.size(); ++i) {
    const auto id = static_cast<WeightId>(i);
    if (s.input_of[i] == id) all.push_back({id, false});
    if (s.input_of[i] != kNone) all.push_back({id, true});
  }
  return all;
}

Steps gather_statistics(const Graph& graph, const std::vector<Matrix>& weights,
                        std::vector<std::span<const int32_t>> windows, Pooling pooling,
                        MeasureOptions options, ThreadPool& pool, Statistics& s) {
  const auto all = static_cast<int64_t>(windows.size());
  Gatherer gatherer(graph, options, s, pool);
  FloatRun run(graph, weights, pool);
  const float cap = cap_of_logits(graph);
  int64_t first_window = s.windows, first_token = 0;
  for (const GatheredOf& of : all_gathered(s)) first_window = std::min(first_window, of.in(s).windows);
  for (int64_t i = 0; i < all; ++i) {
    const std::span<const int32_t> window = windows[static_cast<size_t>(i)];
    const int64_t end_token = first_token + static_cast<int64_t>(window.size());
    if (i >= first_window) {
      const bool counts = s.windows == i;
      gatherer.window = i;
      run.forward(window, true);
      Matrix gradient = std::move(run.logits());
      if (pooling == Pooling::none) {
        sample_gradient(gradient, cap, options.seed, static_cast<uint64_t>(first_token),
                        counts ? &s : nullptr, gatherer.head_weight, pool);
      } else {
        sample_vector_gradient(gradient, pooling, options.seed, static_cast<uint64_t>(i));
        if (counts)
          for (const int32_t token : window) s.token_shares[static_cast<size_t>(token)] += 1.0f;
      }
      run.backward(std::move(gradient), gatherer);
      add_window(s, i, i + 1 == all, end_token);
      co_yield worked(Stage::measuring, i + 1, all);
    }
    first_token = end_token;
  }
  co_return Status();
}

}  // namespace nutshell::compress
