#include "compress/calibrate.h"

#include <algorithm>

#include "base/rng.h"
#include "compress/embedding.h"
#include "compress/items.h"

namespace nutshell::compress {
namespace {

class Gatherer : public GradientObserver {
 public:
  Gatherer(const Graph& graph, Statistics& s, ThreadPool& pool) : graph_(graph), s_(s), pool_(pool) {}

  std::vector<float> head_weight;  // per token: sum over the vocabulary of p (1 - p)

  void on_linear(const LinearOp& op, const Matrix& x, std::span<const Matrix> gradients) override {
    if (op.parts[0].out == graph_.logits) {
      grow(s_.head_inputs, x.cols());
      add_gram(pool_, x, head_weight, s_.head_inputs);
      return;
    }
    // A token's weight: half as much as any other's, half by the size of its gradient, each part counting
    // alike.
    Eigen::VectorXf weight = Eigen::VectorXf::Zero(x.rows());
    const WeightId first = op.parts[0].weight;
    for (size_t p = 0; p < gradients.size(); ++p) {
      const auto id = static_cast<size_t>(op.parts[p].weight);
      s_.input_of[id] = first;
      const Eigen::VectorXf size = gradients[p].rowwise().squaredNorm();
      const float mean = std::max(size.mean(), 1e-30f);
      add_outputs(id, gradients[p], size, mean);
      weight.array() += (0.5f + 0.5f * size.array() / mean) / static_cast<float>(gradients.size());
    }
    std::vector<float>& all = s_.token_weights[static_cast<size_t>(first)];
    all.insert(all.end(), weight.begin(), weight.end());
    grow(s_.inputs[static_cast<size_t>(first)], x.cols());
    add_gram(pool_, x, {weight.data(), static_cast<size_t>(weight.size())},
             s_.inputs[static_cast<size_t>(first)]);
  }

  // Second moments of n_tokens tokens as estimates of those of all text. A gradient's size is heavy-tailed: a
  // few tokens would rule the moments, so each counts by |g| instead of |g|^2, and the trace is mended. What is
  // off the diagonal shrinks by the share of it that is noise (Ledoit and Wolf 2004, with the diagonal as the
  // target). On other text than they come from, 16,384 tokens' moments without either are worse than the
  // diagonal alone for attn_v and ffn_gate of SmolLM2 (errors 1.24 and 1.14 to 1); so they are .93 and .99.
  void finish_outputs() {
    for (size_t id = 0; id < moments_.size(); ++id) {
      const Moments& m = moments_[id];
      Matrix& h = s_.outputs[id];
      if (m.n == 0 || !(h.trace() > 0)) continue;
      h *= 1.0f / static_cast<float>(m.n);
      const Eigen::VectorXf diagonal = h.diagonal();
      const double n = static_cast<double>(m.n),
                   off = static_cast<double>(h.squaredNorm()) - static_cast<double>(diagonal.squaredNorm()),
                   noise = (m.products / n - off) / n;
      h *= off > 0 ? static_cast<float>(1 - std::clamp(noise / off, 0.0, 1.0)) : 1.0f;
      h.diagonal() = diagonal;
      h *= static_cast<float>(m.sizes / n / static_cast<double>(diagonal.sum()));
    }
  }

  // Tables of positions add to what the token's gives: the same gradient.
  void on_embed(const EmbedOp& op, std::span<const int32_t>, const Matrix& gradient) override {
    if (op.by != EmbedBy::token) return;
    grow(s_.embed_gradients, gradient.cols());
    add_gram(pool_, gradient, {}, s_.embed_gradients);
  }

 private:
  struct Moments {
    int64_t n = 0;
    double sizes = 0, products = 0;  // sums of |g|^2, and of the squares of g g^T off the diagonal
  };

  void add_outputs(size_t id, const Matrix& g, const Eigen::VectorXf& size, float mean) {
    grow(s_.outputs[id], g.cols());
    const Eigen::VectorXf weight = (mean / (size.array() + 1e-4f * mean)).sqrt();
    add_gram(pool_, g, {weight.data(), static_cast<size_t>(weight.size())}, s_.outputs[id]);
    if (moments_.size() <= id) moments_.resize(id + 1);
    Moments& m = moments_[id];
    m.n += g.rows();
    m.sizes += static_cast<double>(size.sum());
    for (int64_t t = 0; t < g.rows(); ++t) {
      const double w = static_cast<double>(weight(t)), s = static_cast<double>(size(t));
      m.products += w * w * (s * s - static_cast<double>(g.row(t).array().square().square().sum()));
    }
  }

  static void grow(Matrix& m, int64_t n) {
    if (m.size() == 0) m = Matrix::Zero(n, n);
  }
  const Graph& graph_;
  Statistics& s_;
  ThreadPool& pool_;
  std::vector<Moments> moments_;  // by WeightId
};

// logits become the gradient of -log p(sampled token): p - one-hot. Fills the head's moments.
void sample_gradient(Matrix& p, uint64_t seed, uint64_t first_index, Statistics& s,
                     std::vector<float>& head_weight, ThreadPool& pool) {
  softmax_rows(pool, p);
  constexpr int64_t kTile = 1024;
  for_items(pool, (p.cols() + kTile - 1) / kTile, [&](int64_t i) {
    for (int64_t v = i * kTile; v < std::min(p.cols(), (i + 1) * kTile); ++v) {
      float sum = 0, squares = 0;
      for (int64_t t = 0; t < p.rows(); ++t) {
        sum += p(t, v);
        squares += p(t, v) * p(t, v);
      }
      s.token_shares[static_cast<size_t>(v)] += sum;
      s.head_rows[static_cast<size_t>(v)] += sum - squares;
    }
  });
  head_weight.resize(static_cast<size_t>(p.rows()));
  for_items(pool, p.rows(), [&](int64_t t) {
    head_weight[static_cast<size_t>(t)] = 1.0f - p.row(t).squaredNorm();
    double left = uniform_01(seed, first_index + static_cast<uint64_t>(t));
    int64_t v = 0;
    while (v + 1 < p.cols() && (left -= static_cast<double>(p(t, v))) > 0) ++v;
    p(t, v) -= 1.0f;
  });
}

}  // namespace

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
  s.head_rows.assign(n_vocab, 0);
  s.token_shares.assign(n_vocab, 0);
  return s;
}

Steps gather_statistics(const Graph& graph, const std::vector<Matrix>& weights,
                        std::vector<std::span<const int32_t>> windows, Pooling pooling, uint64_t seed,
                        ThreadPool& pool, Statistics& s) {
  s = no_statistics(graph);
  Gatherer gatherer(graph, s, pool);
  FloatRun run(graph, weights, pool);
  for (size_t i = 0; i < windows.size(); ++i) {
    run.forward(windows[i], true);
    Matrix gradient = std::move(run.logits());
    if (pooling == Pooling::none) {
      sample_gradient(gradient, seed, static_cast<uint64_t>(s.n_tokens), s, gatherer.head_weight, pool);
    } else {
      sample_vector_gradient(gradient, pooling, seed, i);
      for (const int32_t token : windows[i]) s.token_shares[static_cast<size_t>(token)] += 1.0f;
    }
    run.backward(std::move(gradient), gatherer);
    s.n_tokens += static_cast<int64_t>(windows[i].size());
    co_yield worked(Stage::measuring, static_cast<int64_t>(i) + 1, static_cast<int64_t>(windows.size()));
  }
  const float by = 1.0f / static_cast<float>(std::max<int64_t>(1, s.n_tokens));
  for (Matrix& m : s.inputs) m *= by;
  gatherer.finish_outputs();
  s.head_inputs *= by;
  s.embed_gradients *= by;
  for (float& v : s.head_rows) v *= by;
  for (float& v : s.token_shares) v *= by;
  co_return Status();
}

}  // namespace nutshell::compress
