// Divides the logits by the temperature; temperature 0 keeps only the best candidate (greedy).
#include <algorithm>
#include <limits>

#include "sample/stage.h"

namespace nutshell {
namespace {

class Temperature final : public Stage {
 public:
  explicit Temperature(const SamplerOptions& options) : temperature_(options.temperature) {}
  void apply(Candidates& candidates, std::span<const int32_t>) const override {
    const double max_logit = candidates.max_logit();
    if (max_logit == -std::numeric_limits<double>::infinity()) return;
    // Relative to the best one: a tiny temperature must not push several of them to infinity.
    for (Candidate& c : candidates.items) {
      c.logit = c.logit == max_logit ? 0.0 : (c.logit - max_logit) / temperature_;
    }
  }

 private:
  double temperature_;
};

class Greedy final : public Stage {
 public:
  void apply(Candidates& candidates, std::span<const int32_t>) const override {
    if (candidates.items.empty()) return;
    const Candidate best = *std::min_element(candidates.items.begin(), candidates.items.end(), better);
    candidates.items.assign(1, best);
    candidates.sorted = true;
  }
};

}  // namespace

std::unique_ptr<Stage> make_temperature_stage(const SamplerOptions& options) {
  if (options.temperature == 0.0) return std::make_unique<Greedy>();
  if (options.temperature == 1.0) return nullptr;
  return std::make_unique<Temperature>(options);
}

}  // namespace nutshell
