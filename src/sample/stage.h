// One stage of the sampler chain and what the stages share. L4; inside sample/ only.
// A stage edits the list of candidates: changes logits or drops candidates, never all that can be chosen.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sample/sampler.h"

namespace nutshell {

struct Candidate {
  int32_t id;
  double logit;  // never NaN
};

// The order of candidates: better logit first, the lower id among equals.
inline bool better(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

struct Candidates {
  std::vector<Candidate> items;
  bool sorted = false;  // all of items, by better()

  // Sorts so that the best n come first in order; the rest is unordered behind them. n <= items.size().
  void sort_best(size_t n);
  double max_logit() const;  // -infinity when empty
};

class Stage {
 public:
  virtual ~Stage() = default;
  virtual void apply(Candidates& candidates, std::span<const int32_t> history) const = 0;
};

// make_<name>_stage: the stage, or null when the options switch it off. Precondition: checked options.
#define X(name) std::unique_ptr<Stage> make_##name##_stage(const SamplerOptions& options);
#include "sample/stages.def"
#undef X

}  // namespace nutshell
