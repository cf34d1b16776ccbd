// Scalar: some hundred experts per token are far less work than one row of one of them.
#include "kernels/route.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nutshell {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

void make_scores(const RouterShape& r, const float* logits, float* scores) {
  if (r.scores == RouterScores::softmax_of_chosen) {
    std::copy_n(logits, r.n_expert, scores);
  } else if (r.scores == RouterScores::sigmoid) {
    for (int64_t e = 0; e < r.n_expert; ++e) scores[e] = 1.0f / (1.0f + std::exp(-logits[e]));
  } else {
    const float top = *std::max_element(logits, logits + r.n_expert);
    float sum = 0;
    for (int64_t e = 0; e < r.n_expert; ++e) sum += scores[e] = std::exp(logits[e] - top);
    for (int64_t e = 0; e < r.n_expert; ++e) scores[e] /= sum;
  }
}

// Sum of the best one or two of n keys.
float group_value(const float* keys, int64_t n, int64_t best) {
  float first = kNever, second = kNever;
  for (int64_t i = 0; i < n; ++i) {
    if (keys[i] > first) {
      second = first;
      first = keys[i];
    } else {
      second = std::max(second, keys[i]);
    }
  }
  return best > 1 && n > 1 ? first + second : first;
}

// Keys outside the n_group_used best groups become kNever.
void keep_best_groups(const RouterShape& r, float* keys) {
  const int64_t size = r.n_expert / r.n_group;
  const auto value = [&](int64_t g) { return group_value(keys + g * size, size, r.group_best); };
  // A group stays when fewer than n_group_used are better. At most 64 groups (check_graph).
  uint64_t kept = 0;
  for (int64_t g = 0; g < r.n_group; ++g) {
    int64_t better = 0;
    for (int64_t o = 0; o < r.n_group; ++o)
      if (o != g && (value(o) > value(g) || (value(o) == value(g) && o < g))) ++better;
    if (better < r.n_group_used) kept |= uint64_t{1} << g;
  }
  for (int64_t g = 0; g < r.n_group; ++g)
    if ((kept >> g & 1) == 0) std::fill_n(keys + g * size, size, kNever);
}

}  // namespace

void route_token(const RouterShape& r, const float* logits, const float* selection_bias, int32_t* experts,
                 float* weights, float* scratch) {
  float *scores = scratch, *keys = scratch + r.n_expert;
  make_scores(r, logits, scores);
  for (int64_t e = 0; e < r.n_expert; ++e) {
    const float key = scores[e] + (selection_bias == nullptr ? 0.0f : selection_bias[e]);
    keys[e] = key > kNever ? key : std::numeric_limits<float>::lowest();  // NaN too: last, but choosable
  }
  if (r.n_group > 1) keep_best_groups(r, keys);
  for (int64_t i = 0; i < r.n_used; ++i) {
    int64_t best = -1;
    for (int64_t e = 0; e < r.n_expert; ++e) {
      const bool taken = std::find(experts, experts + i, static_cast<int32_t>(e)) != experts + i;
      if (!taken && (best < 0 || keys[e] > keys[best])) best = e;
    }
    experts[i] = static_cast<int32_t>(best);
  }
  std::sort(experts, experts + r.n_used);
  float sum = 0, top = kNever;
  for (int64_t i = 0; i < r.n_used; ++i) top = std::max(top, scores[experts[i]]);
  for (int64_t i = 0; i < r.n_used; ++i) {
    const float s = scores[experts[i]];
    sum += weights[i] = r.scores == RouterScores::softmax_of_chosen ? std::exp(s - top) : s;
  }
  const bool divide = r.normalize || r.scores == RouterScores::softmax_of_chosen;
  for (int64_t i = 0; i < r.n_used; ++i)
    weights[i] = (divide ? weights[i] / std::max(sum, 1e-20f) : weights[i]) * r.scale;
}

}  // namespace nutshell
