// Chooses the next token from logits. L4, beside model; sees only base. Deterministic: the same options, seed,
// logits and history give the same token on every platform (double precision, counter-based random numbers,
// ties broken by the lower id).
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
  double temperature = 0.8;         // 0 = greedy; 0..10
  int32_t top_k = 40;               // 0 = off
  double top_p = 0.95;              // 1 = off; (0, 1]
  double min_p = 0.05;              // 0 = off; [0, 1]
  double repetition_penalty = 1.0;  // 1 = off; (0, 10]: logits of seen tokens divided (positive) or multiplied
  double frequency_penalty = 0.0;   // subtracted per occurrence; [-10, 10]
  double presence_penalty = 0.0;    // subtracted once when seen; [-10, 10]
  int32_t penalty_last_n = 64;      // how far back "seen" looks; -1 = everything, 0 = off
  std::vector<std::pair<int32_t, double>> logit_bias;  // (token, added to its logit); -infinity bans
  uint64_t seed = 0;
};

// invalid_argument naming the option, its value and its range.
Status check_sampler_options(const SamplerOptions& options, int32_t n_vocab);

struct Sampled {
  int32_t id = -1;
  double logprob = 0.0;  // natural log of the probability under the model's raw logits (softmax at temperature 1)
};

// One stage: edits candidates (logits in any order, subset allowed). A file per stage in this folder.
struct Candidate {
  int32_t id;
  double logit;
};

class Sampler {
 public:
  virtual ~Sampler() = default;
  // logits: n_vocab values; history: prompt and generated tokens so far, oldest first. index counts the
  // tokens sampled so far (the random number used depends on seed and index alone).
  virtual Sampled sample(std::span<const float> logits, std::span<const int32_t> history, uint64_t index) = 0;
};

// The chain bias -> penalties -> top-k -> temperature... in the order of llama.cpp's default chain:
// bias, penalties, top_k, top_p, min_p, temperature, draw.
Result<std::unique_ptr<Sampler>> make_sampler(const SamplerOptions& options, int32_t n_vocab);

}  // namespace nutshell
