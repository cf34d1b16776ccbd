// Repetition, frequency and presence penalties over the last penalty_last_n tokens of prompt and answer.
// As in llama.cpp: a seen token's logit is divided by the repetition penalty when positive and multiplied
// when not (so it always gets less likely), then loses count * frequency + presence.
#include <algorithm>

#include "sample/stage.h"

namespace nutshell {
namespace {

class Penalty final : public Stage {
 public:
  explicit Penalty(const SamplerOptions& options)
      : repetition_(options.repetition_penalty),
        frequency_(options.frequency_penalty),
        presence_(options.presence_penalty),
        last_n_(options.penalty_last_n) {}

  // Precondition: items[i].id == i: only the bias, which drops nothing, ran before.
  void apply(Candidates& candidates, std::span<const int32_t> history) const override {
    if (last_n_ >= 0 && history.size() > static_cast<size_t>(last_n_)) {
      history = history.last(static_cast<size_t>(last_n_));
    }
    std::vector<int32_t> seen(history.begin(), history.end());
    std::sort(seen.begin(), seen.end());
    for (size_t i = 0; i < seen.size();) {
      size_t end = i + 1;
      while (end < seen.size() && seen[end] == seen[i]) ++end;
      if (seen[i] >= 0 && static_cast<size_t>(seen[i]) < candidates.items.size()) {
        penalise(candidates.items[static_cast<size_t>(seen[i])].logit, static_cast<double>(end - i));
      }
      i = end;
    }
  }

 private:
  void penalise(double& logit, double count) const {
    logit = logit > 0 ? logit / repetition_ : logit * repetition_;
    logit -= count * frequency_ + presence_;
  }

  double repetition_, frequency_, presence_;
  int32_t last_n_;
};

}  // namespace

std::unique_ptr<Stage> make_penalty_stage(const SamplerOptions& options) {
  const bool neutral = options.repetition_penalty == 1.0 && options.frequency_penalty == 0.0 &&
                       options.presence_penalty == 0.0;
  if (neutral || options.penalty_last_n == 0) return nullptr;
  return std::make_unique<Penalty>(options);
}

}  // namespace nutshell
