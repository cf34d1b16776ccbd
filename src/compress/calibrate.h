// What the weights' errors cost: second moments of inputs and of gradients, from the model run on calibration
// text. L5. Gradients are of the log-likelihood of tokens sampled from the model itself, so their second
// moment is the Fisher information: KL(model || changed model) = 1/2 e^T F e for a small change e of the
// weights. Of a model that embeds texts they are of a random part of a text's vector (embedding.h).
#pragma once

#include <span>
#include <vector>

#include "compress/float_run.h"
#include "compress/moments.h"
#include "compress/steps.h"
#include "model/hparams.h"

namespace nutshell::compress {

// Over the tokens of a block of gradients: |g|^2, and the squares of g g^T off the diagonal.
struct GradientSums {
  double sizes = 0, products = 0;
};

// Moments on their way: of the first windows their sum, of all of them what Statistics says. Each counts its
// windows itself, so those that were kept at different times can be gone on with.
struct Gathered {
  Moments moments;
  std::vector<GradientSums> sums;  // by block; of inputs zeros
  int64_t windows = 0;
};

struct Statistics {
  // By WeightId. inputs: [n_in, n_in], mean of x x^T over tokens weighted by the gradient, in code space
  // where it is cut; outputs: [n_out, n_out], estimate of the mean of g g^T.
  std::vector<Gathered> inputs, outputs;
  // Whose inputs are those of a weight: the parts of an op share them. kNone: it has neither moments.
  std::vector<WeightId> input_of;
  int64_t windows = 0;  // that all below is of, which are sums until it is of all of them
  int64_t n_tokens = 0;
  std::vector<std::vector<float>> token_weights;  // of inputs, by token
  // The head: a row's gradient has the exact second moment p (1 - p) (times the squared slope of a softcap).
  // The table: rows are used as often as the model thinks them likely (smoother than counting).
  Matrix head_inputs;               // sum over vocabulary and mean over tokens
  std::vector<float> head_rows;     // mean of p (1 - p)
  Matrix embed_gradients;           // mean of g g^T at the embedding's output
  std::vector<float> token_shares;  // mean of p; of a model without a head, how often each was read
};

// One of the moments of Statistics.
struct GatheredOf {
  WeightId weight;
  bool outputs;
  template <typename S>
  auto& in(S& s) const {
    return (outputs ? s.outputs : s.inputs)[static_cast<size_t>(weight)];
  }
};
// All that the graph of s has.
std::vector<GatheredOf> all_gathered(const Statistics& s);

struct MeasureOptions {
  uint64_t seed = 1;            // of sampled tokens and of rotations
  int64_t most_moments = 2048;  // CompressOptions
};

// Of no window: every member has its place, matrices have no values.
Statistics no_statistics(const Graph& graph);
// windows: each at most what the model was trained for, a step each. s: no_statistics(), or what earlier
// steps of the same call left; the windows that lack in any part of it are run. Precondition:
// FloatRun::check(graph).
Steps gather_statistics(const Graph& graph, const std::vector<Matrix>& weights,
                        std::vector<std::span<const int32_t>> windows, Pooling pooling,
                        MeasureOptions options, ThreadPool& pool, Statistics& s);

// Adds the moments of inputs to a coded matrix, rows of x: in code space where they are cut.
void add_inputs(ThreadPool& pool, const Matrix& x, std::span<const float> weight, uint64_t seed, Moments& m);

}  // namespace nutshell::compress
