#include "engine/quality.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace nutshell {
namespace {

// log(sum(exp(logits))) in double precision.
double log_sum_exp(std::span<const float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (float l : logits) sum += std::exp(static_cast<double>(l - top));
  return static_cast<double>(top) + std::log(sum);
}

double kl_divergence(std::span<const float> reference, double reference_lse, std::span<const float> logits,
                     double lse) {
  double kl = 0.0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double log_p = static_cast<double>(reference[i]) - reference_lse;
    const double p = std::exp(log_p);
    if (p > 0.0) kl += p * (log_p - (static_cast<double>(logits[i]) - lse));
  }
  return kl;
}

size_t arg_max(std::span<const float> logits) {
  return static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

struct Sums {
  double nll = 0.0, kl = 0.0;
  int64_t agreed = 0, scored = 0;
};

// Scores window[first + 1 .. first + n] from the logits of rows first .. first + n - 1, which a step just
// gave.
void score_rows(const Model& model, const Model* reference, std::span<const int32_t> next, Sums& sums) {
  for (size_t i = 0; i < next.size(); ++i) {
    const std::span<const float> logits = model.backend->logits(static_cast<int64_t>(i));
    const double lse = log_sum_exp(logits);
    sums.nll += lse - static_cast<double>(logits[static_cast<size_t>(next[i])]);
    ++sums.scored;
    if (reference == nullptr) continue;
    const std::span<const float> wanted = reference->backend->logits(static_cast<int64_t>(i));
    sums.kl += kl_divergence(wanted, log_sum_exp(wanted), logits, lse);
    sums.agreed += arg_max(wanted) == arg_max(logits);
  }
}

Status score_window(Model& model, Model* reference, std::span<const int32_t> window, Sums& sums) {
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
    score_rows(model, reference, window.subspan(at + 1, n), sums);
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
                                      int64_t context,
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
    RETURN_IF_ERROR(score_window(model, reference, window, sums));
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
