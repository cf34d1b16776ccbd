// Drops candidates less likely than p times the most likely one (before the temperature). Nguyen et al. 2024.
#include <algorithm>

#include "sample/exp.h"
#include "sample/stage.h"

namespace nutshell {
namespace {

class MinP final : public Stage {
 public:
  explicit MinP(const SamplerOptions& options) : p_(options.min_p) {}
  void apply(Candidates& candidates, std::span<const int32_t>) const override {
    const double max_logit = candidates.max_logit();
    std::erase_if(candidates.items,
                  [&](const Candidate& c) { return softmax_weight(c.logit, max_logit) < p_; });
  }

 private:
  double p_;
};

}  // namespace

std::unique_ptr<Stage> make_min_p_stage(const SamplerOptions& options) {
  if (options.min_p == 0.0 || options.temperature == 0)
    return nullptr;  // greedy: the best one survives anyway
  return std::make_unique<MinP>(options);
}

}  // namespace nutshell
