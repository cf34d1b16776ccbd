// Nucleus sampling: keeps the fewest best candidates whose probabilities (before the temperature) reach p
// together; always at least one. Holtzman et al. 2019.
#include <algorithm>

#include "sample/exp.h"
#include "sample/stage.h"

namespace nutshell {
namespace {

class TopP final : public Stage {
 public:
  explicit TopP(const SamplerOptions& options) : p_(options.top_p) {}

  void apply(Candidates& candidates, std::span<const int32_t>) const override {
    const double max_logit = candidates.max_logit();
    double total = 0;
    for (const Candidate& c : candidates.items) total += softmax_weight(c.logit, max_logit);
    const size_t n = candidates.items.size();
    double sum = 0;
    size_t kept = 0, sorted = candidates.sorted ? n : 0;
    while (kept < n) {
      if (kept == sorted) {  // sorting all of a vocabulary for the few that stay would be the whole cost
        sorted = std::min(n, std::max<size_t>(64, sorted * 8));
        candidates.sort_best(sorted);
      }
      sum += softmax_weight(candidates.items[kept].logit, max_logit);
      ++kept;
      if (sum >= p_ * total) break;
    }
    candidates.items.resize(kept);
    candidates.sorted = true;
  }

 private:
  double p_;
};

}  // namespace

std::unique_ptr<Stage> make_top_p_stage(const SamplerOptions& options) {
  if (options.top_p >= 1.0 || options.temperature == 0)
    return nullptr;  // greedy: the best one survives anyway
  return std::make_unique<TopP>(options);
}

}  // namespace nutshell
