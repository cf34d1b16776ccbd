#include "engine/quality.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace nutshell {
namespace {

// What a position's logits say, in double precision.
struct Score {
  double nll = 0.0, kl = 0.0;
  bool agreed = false;
};

// next: the token that followed.
void score_alone(std::span<const float> logits, int32_t next, Score& score) {
  const double top = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0.0;
  for (const float l : logits) sum += std::exp(static_cast<double>(l) - top);
  score.nll = top + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(next)]);
}

// KL = sum p (log p - log q), p and q being softmaxes: the mean of the difference of the logits, less that of
// the logarithms of their sums.
void score_both(std::span<const float> wanted, std::span<const float> logits, int32_t next, Score& score) {
  const auto likeliest = std::max_element(logits.begin(), logits.end());
  const auto expected = std::max_element(wanted.begin(), wanted.end());
  const double top_p = static_cast<double>(*expected), top_q = static_cast<double>(*likeliest);
  double sum_p = 0.0, sum_q = 0.0, difference = 0.0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double l = static_cast<double>(wanted[i]) - top_p, m = static_cast<double>(logits[i]) - top_q;
    const double p = std::exp(l);
    sum_p += p;
    sum_q += std::exp(m);
    difference += p * (l - m);
  }
  score.nll = top_q + std::log(sum_q) - static_cast<double>(logits[static_cast<size_t>(next)]);
  score.kl = difference / sum_p - std::log(sum_p) + std::log(sum_q);
  score.agreed = likeliest - logits.begin() == expected - wanted.begin();
}

struct Sums {
  double nll = 0.0, kl = 0.0;
  int64_t agreed = 0, scored = 0;
};

// next[i] followed row i of the logits that a step just gave.
void score_rows(const Model& model, const Model* reference, std::span<const int32_t> next, ThreadPool& pool,
                Sums& sums) {
  std::vector<Score> scores(next.size());
  pool.run([&](Worker& worker) {
    const Worker::Range mine = worker.share(static_cast<int64_t>(next.size()));
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      const auto at = static_cast<size_t>(i);
      const std::span<const float> logits = model.backend->logits(i);
      if (reference == nullptr)
        score_alone(logits, next[at], scores[at]);
      else
        score_both(reference->backend->logits(i), logits, next[at], scores[at]);
    }
  });
  for (const Score& s : scores) {
    sums.nll += s.nll;
    sums.kl += s.kl;
    sums.agreed += s.agreed;
  }
  sums.scored += static_cast<int64_t>(scores.size());
}

Status score_window(Model& model, Model* reference, std::span<const int32_t> window, ThreadPool& pool,
                    Sums& sums) {
  const int64_t n_inputs = static_cast<int64_t>(window.size()) - 1;  // the last token is only scored
  int64_t step = std::min(model.extents.max_tokens, model.extents.max_outputs);
  if (reference != nullptr)
    step = std::min({step, reference->extents.max_tokens, reference->extents.max_outputs});
  std::vector<int32_t> rows(static_cast<size_t>(step));
  std::iota(rows.begin(), rows.end(), 0);
  for (int64_t first = 0; first < n_inputs; first += step) {
    const auto n = static_cast<size_t>(std::min(step, n_inputs - first));
    const auto at = static_cast<size_t>(first);
    const Step run{window.subspan(at, n), first, std::span(rows).first(n)};
    RETURN_IF_ERROR(model.backend->run(run));
    if (reference != nullptr) RETURN_IF_ERROR(reference->backend->run(run));
    score_rows(model, reference, window.subspan(at + 1, n), pool, sums);
  }
  return {};
}

Status check(const Model& model, const Model* reference, std::span<const int32_t> tokens, int64_t context) {
  if (model.embeds() || (reference != nullptr && reference->embeds())) return {ErrorCode::no_generation, {}};
  if (context < 2 || context > model.extents.n_ctx ||
      (reference != nullptr && context > reference->extents.n_ctx))
    return {ErrorCode::invalid_argument, "the context of " + std::to_string(context) +
                                             " tokens is out of range 2.." +
                                             std::to_string(model.extents.n_ctx)};
  if (tokens.size() < 2) return {ErrorCode::invalid_argument, "the text has fewer than two tokens"};
  if (reference != nullptr && reference->hparams.n_vocab != model.hparams.n_vocab)
    return {ErrorCode::invalid_argument, "the reference has a vocabulary of " +
                                             std::to_string(reference->hparams.n_vocab) + ", the model " +
                                             std::to_string(model.hparams.n_vocab)};
  for (int32_t id : tokens)
    if (id < 0 || id >= model.hparams.n_vocab)
      return {ErrorCode::invalid_argument, "token id " + std::to_string(id) + " is outside the vocabulary"};
  return {};
}

}  // namespace

Result<QualityReport> measure_quality(Model& model, Model* reference, std::span<const int32_t> tokens,
                                      int64_t context, ThreadPool& pool,
                                      const std::function<void(int64_t, int64_t)>& progress) {
  RETURN_IF_ERROR(check(model, reference, tokens, context));
  QualityReport report;
  Sums total;
  const auto length = static_cast<size_t>(context);
  const auto n_windows = static_cast<int64_t>((tokens.size() + length - 1) / length);
  for (size_t at = 0; at < tokens.size(); at += length) {
    const std::span<const int32_t> window = tokens.subspan(at, std::min(length, tokens.size() - at));
    if (window.size() < 2) break;
    Sums sums;
    RETURN_IF_ERROR(score_window(model, reference, window, pool, sums));
    report.window_nll.push_back(sums.nll / static_cast<double>(sums.scored));
    total.nll += sums.nll;
    total.kl += sums.kl;
    total.agreed += sums.agreed;
    total.scored += sums.scored;
    if (progress) progress(static_cast<int64_t>(report.window_nll.size()), n_windows);
  }
  const auto scored = static_cast<double>(total.scored);
  report.scored = total.scored;
  report.perplexity = std::exp(total.nll / scored);
  report.mean_kl = total.kl / scored;
  report.top1_agreement = static_cast<double>(total.agreed) / scored;
  return report;
}

}  // namespace nutshell
