#include "compress/evaluate.h"

#include <cmath>

#include "compress/embedding.h"
#include "compress/items.h"
#include "compress/rotation.h"

namespace nutshell::compress {
namespace {

// As kernels/quantize.h: 32 columns share a scale.
void round_to_codes(ThreadPool& pool, Matrix& x) {
  for_items(pool, x.rows(), [&](int64_t t) {
    for (int64_t c = 0; c + 32 <= x.cols(); c += 32) {
      auto part = x.row(t).segment(c, 32);
      const float d = part.cwiseAbs().maxCoeff() / 127.0f;
      if (d > 0) part = (part.array() / d).rint() * d;
    }
  });
}

struct Row {
  double nll_before = 0, nll_after = 0, kl = 0;
  int64_t agreed = 0;
};

// a, b: logits of one position.
Row compare_row(const Eigen::Ref<const Vector>& a, const Eigen::Ref<const Vector>& b, int32_t next) {
  const auto log_sum = [](const Eigen::Ref<const Vector>& x) {
    const float top = x.maxCoeff();
    return static_cast<double>(top) + std::log(static_cast<double>((x.array() - top).exp().sum()));
  };
  const double za = log_sum(a), zb = log_sum(b);
  Row row;
  row.nll_before = za - static_cast<double>(a(next));
  row.nll_after = zb - static_cast<double>(b(next));
  const auto p = (a.array() - static_cast<float>(za)).exp();
  row.kl = static_cast<double>((p * (a.array() - b.array())).sum()) - za + zb;
  Eigen::Index i = 0, j = 0;
  a.maxCoeff(&i);
  b.maxCoeff(&j);
  row.agreed = i == j;
  return row;
}

}  // namespace

Steps compare(const Graph& graph, const std::vector<Matrix>& before, const std::vector<Matrix>& after,
              std::vector<bool> coded, uint64_t rotation_seed, std::vector<std::span<const int32_t>> windows,
              Pooling pooling, ThreadPool& pool, Comparison& total) {
  FloatRun first(graph, before, pool), second(graph, after, pool);
  total = {};
  const InputHook as_at_run_time = [&](const LinearOp& op, Matrix& x) {
    const bool rotated = coded[static_cast<size_t>(op.parts[0].weight)];
    if (rotated) rotate_rows(pool, rotation_seed, x);
    round_to_codes(pool, x);
    if (rotated) unrotate_rows(pool, rotation_seed, x);
  };
  double nll_before = 0, nll_after = 0;
  int64_t agreed = 0;
  for (const std::span<const int32_t>& window : windows) {
    first.forward(window, false);
    second.forward(window, false, as_at_run_time);
    if (pooling != Pooling::none) {
      total.mean_cosine += static_cast<double>(
          text_vector(first.logits(), pooling).dot(text_vector(second.logits(), pooling)));
      ++total.scored;
      co_yield worked(Stage::checking, &window - windows.data() + 1, static_cast<int64_t>(windows.size()));
      continue;
    }
    std::vector<Row> rows(window.size() - 1);
    for_items(pool, static_cast<int64_t>(rows.size()), [&](int64_t t) {
      rows[static_cast<size_t>(t)] =
          compare_row(first.logits().row(t), second.logits().row(t), window[static_cast<size_t>(t) + 1]);
    });
    for (const Row& r : rows) {
      nll_before += r.nll_before;
      nll_after += r.nll_after;
      total.mean_kl += r.kl;
      agreed += r.agreed;
    }
    total.scored += static_cast<int64_t>(rows.size());
    co_yield worked(Stage::checking, &window - windows.data() + 1, static_cast<int64_t>(windows.size()));
  }
  const auto n = static_cast<double>(std::max<int64_t>(1, total.scored));
  total.perplexity_before = std::exp(nll_before / n);
  total.perplexity_after = std::exp(nll_after / n);
  total.mean_kl /= n;
  total.mean_cosine /= n;
  total.top1_agreement = static_cast<double>(agreed) / n;
  co_return Status();
}

}  // namespace nutshell::compress
