// Measures of quality: perplexity of a text, and Kullback-Leibler divergence and top-1 agreement against a
// reference model on the same text. L5. Used by the command line, the compressor and the tests.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "engine/model.h"

namespace nutshell {

struct QualityReport {
  int64_t scored = 0;
  double perplexity = 0.0;
  // Against the reference; only when there is one.
  double mean_kl = 0.0;            // KL(reference || model), nats per token
  double top1_agreement = 0.0;     // share of positions whose likeliest token is the same
  std::vector<double> window_nll;  // mean negative log-likelihood per window
};

// Splits tokens into non-overlapping windows of `context` tokens (the last, shorter one counts when it has at
// least two) and scores every position after a window's first. Both models must share the vocabulary and be
// loaded with n_ctx >= context. pool: not in use meanwhile by others than the models. progress(windows done,
// of all) may be empty. Errors: no_generation (an embedding model), invalid_argument (fewer than two tokens,
// context < 2 or beyond n_ctx, different vocabularies).
Result<QualityReport> measure_quality(Model& model, Model* reference, std::span<const int32_t> tokens,
                                      int64_t context, ThreadPool& pool,
                                      const std::function<void(int64_t, int64_t)>& progress = {});

}  // namespace nutshell
