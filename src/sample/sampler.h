// Chooses the next token from logits. L4, beside model; sees only base. Deterministic: the same options,
// seed, logits, history and index give the same token on every platform (double precision, our own exp,
// counter-based random numbers, ties broken by the lower id).
//
// Order and meaning follow llama.cpp's default chain: logit bias, penalties, top-k, top-p, min-p,
// temperature, draw. So top-p and min-p look at probabilities before the temperature, and bias and penalties
// also move the greedy choice. The stages are one file each; stages.def is their list.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace nutshell {

struct SamplerOptions {
  double temperature = 0.8;  // 0 = greedy; 0..10
  int32_t top_k = 40;        // 0 = off
  double top_p = 0.95;       // 1 = off; (0, 1]
  double min_p = 0.05;       // 0 = off; [0, 1]
  double repetition_penalty =
      1.0;                         // 1 = off; (0, 10]: logits of seen tokens divided (positive) or multiplied
  double frequency_penalty = 0.0;  // subtracted per occurrence; [-10, 10]
  double presence_penalty = 0.0;   // subtracted once when seen; [-10, 10]
  int32_t penalty_last_n = 64;     // how far back "seen" looks; -1 = everything, 0 = off
  std::vector<std::pair<int32_t, double>> logit_bias;  // (token, added to its logit); -infinity bans
  uint64_t seed = 0;
  bool logprob = true;  // false: Sampled::logprob stays 0 and the pass over the vocabulary is saved
};

// invalid_argument naming the option, its value and its range.
Status check_sampler_options(const SamplerOptions& options, int32_t n_vocab);

// Odd logits: NaN counts as -infinity; -infinity is never chosen; several +infinity share the probability.
struct Sampled {
  int32_t id = -1;  // -1: nothing can be chosen (every logit -infinity or NaN, or not n_vocab logits)
  double logprob =
      0.0;  // natural log of the probability under the model's raw logits (softmax at temperature 1)
};

class Sampler {
 public:
  virtual ~Sampler() = default;
  // logits: n_vocab values; history: prompt and generated tokens so far, oldest first (ids outside the
  // vocabulary are ignored). index counts the tokens sampled so far: the random number used depends on seed
  // and index alone. Not safe to call from two threads at once (it keeps scratch memory).
  virtual Sampled sample(std::span<const float> logits, std::span<const int32_t> history, uint64_t index) = 0;
};

// Errors: those of check_sampler_options.
Result<std::unique_ptr<Sampler>> make_sampler(const SamplerOptions& options, int32_t n_vocab);

}  // namespace nutshell
