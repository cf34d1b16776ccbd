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

struct Statistics {
  int64_t n_tokens = 0;
  // By WeightId. inputs: [n_in, n_in], mean of x x^T over tokens weighted by the gradient (shared by the
  // parts of an op: input_of says whose it is; in code space where it is cut); outputs: [n_out, n_out],
  // estimate of the mean of g g^T.
  std::vector<Moments> inputs, outputs;
  std::vector<WeightId> input_of;
  std::vector<std::vector<float>> token_weights;  // of inputs, by token
  // The head: a row's gradient has the exact second moment p (1 - p). The table: rows are used as often as
  // the model thinks them likely (smoother than counting).
  Matrix head_inputs;               // sum over vocabulary and mean over tokens
  std::vector<float> head_rows;     // mean of p (1 - p)
  Matrix embed_gradients;           // mean of g g^T at the embedding's output
  std::vector<float> token_shares;  // mean of p; of a model without a head, how often each was read
};

struct MeasureOptions {
  uint64_t seed = 1;            // of sampled tokens and of rotations
  int64_t most_moments = 2048;  // CompressOptions
};

// Of nothing: every member has its place, matrices have no values.
Statistics no_statistics(const Graph& graph);
// windows: each at most what the model was trained for, a step each. Fills s. Precondition:
// FloatRun::check(graph).
Steps gather_statistics(const Graph& graph, const std::vector<Matrix>& weights,
                        std::vector<std::span<const int32_t>> windows, Pooling pooling,
                        MeasureOptions options, ThreadPool& pool, Statistics& s);

// Adds the moments of inputs to a coded matrix, rows of x: in code space where they are cut.
void add_inputs(ThreadPool& pool, const Matrix& x, std::span<const float> weight, uint64_t seed, Moments& m);

}  // namespace nutshell::compress
