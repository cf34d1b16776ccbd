#include "engine/draft.h"

#include <algorithm>

namespace nutshell {

std::vector<int32_t> lookup_draft(std::span<const int32_t> history, size_t n) {
  const size_t size = history.size();
  if (n == 0 || size <= kMinMatch) return {};
  size_t best_end = 0, best_match = kMinMatch - 1;
  for (size_t end = size - 1; end >= kMinMatch; --end) {  // [.., end) is the earlier place
    size_t match = 0;
    while (match < kMaxMatch && match < end && history[end - 1 - match] == history[size - 1 - match]) ++match;
    if (match > best_match) {
      best_match = match;
      best_end = end;
      if (match == kMaxMatch) break;
    }
  }
  if (best_end == 0) return {};
  std::vector<int32_t> guesses;
  for (size_t i = best_end; guesses.size() < n; ++i)  // beyond the end: what repeats goes on repeating
    guesses.push_back(i < size ? history[i] : guesses[i - size]);
  return guesses;
}

bool DraftGain::worth(size_t n) {
  constexpr int kTrials = 6;        // before the times of steps with drafts say something
  constexpr double kAtLeast = 1.6;  // tokens of a step meanwhile; no machine checks drafts for much less
  constexpr int kPatience = 64;     // texts change: after so many refusals a draft is tried again
  if (n == 0) return false;
  double expected = 1, all_right = 1;  // the step's own token, and each draft if those before it are right
  for (size_t i = 0; i < n; ++i) expected += all_right *= right_;
  const double needed =
      plain_.count == 0 || drafted_.count < kTrials ? kAtLeast : drafted_.mean / plain_.mean;
  const bool pays = expected > needed || ++waited_ > kPatience;
  if (pays) waited_ = 0;
  return pays;
}

void DraftGain::checked(size_t n, size_t right) {
  // The first wrong one ends the check: that many were looked at.
  const double looked_at = static_cast<double>(std::min(n, right + 1));
  for (double i = 0; i < looked_at; ++i)
    right_ += ((i < static_cast<double>(right) ? 1.0 : 0.0) - right_) / 8;
}

}  // namespace nutshell
