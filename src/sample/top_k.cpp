// Keeps the k best candidates. Among equal logits at the edge the lower ids stay.
#include <algorithm>

#include "sample/stage.h"

namespace nutshell {
namespace {

class TopK final : public Stage {
 public:
  explicit TopK(const SamplerOptions& options) : k_(static_cast<size_t>(options.top_k)) {}
  void apply(Candidates& candidates, std::span<const int32_t>) const override {
    const size_t k = std::min(k_, candidates.items.size());
    candidates.sort_best(k);
    candidates.items.resize(k);
    candidates.sorted = true;
  }

 private:
  size_t k_;
};

}  // namespace

std::unique_ptr<Stage> make_top_k_stage(const SamplerOptions& options) {
  if (options.top_k == 0 || options.temperature == 0) return nullptr;  // greedy: the best one survives anyway
  return std::make_unique<TopK>(options);
}

}  // namespace nutshell
