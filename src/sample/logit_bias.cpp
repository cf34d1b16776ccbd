// Adds a fixed value to the logits of given tokens; -infinity bans a token.
#include <limits>

#include "sample/stage.h"

namespace nutshell {
namespace {

class LogitBias final : public Stage {
 public:
  explicit LogitBias(const SamplerOptions& options) : bias_(options.logit_bias) {}
  // Precondition: items[i].id == i, as filled in: it is the first stage.
  void apply(Candidates& candidates, std::span<const int32_t>) const override {
    for (const auto& [id, value] : bias_) {
      double& logit = candidates.items[static_cast<size_t>(id)].logit;
      // infinity - infinity would be NaN: the ban wins.
      logit = value == -std::numeric_limits<double>::infinity() ? value : logit + value;
    }
  }

 private:
  std::vector<std::pair<int32_t, double>> bias_;
};

}  // namespace

std::unique_ptr<Stage> make_logit_bias_stage(const SamplerOptions& options) {
  if (options.logit_bias.empty()) return nullptr;
  return std::make_unique<LogitBias>(options);
}

}  // namespace nutshell
