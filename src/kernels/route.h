// Which experts of a mixture a token uses, and how much each counts. L2.
#pragma once

#include <cstdint>

namespace nutshell {

enum class RouterScores : uint8_t { softmax, sigmoid, softmax_of_chosen };

// Meaning: Router in backend/op.h.
struct RouterShape {
  int64_t n_expert = 0, n_used = 0;
  RouterScores scores = RouterScores::softmax;
  bool normalize = false;
  float scale = 1.0f;
  int64_t n_group = 1, n_group_used = 1, group_best = 1;
};

// logits, selection_bias (may be null): n_expert values. experts, weights: n_used values, by ascending
// number. scratch: 2 * n_expert floats. Whatever the logits are (NaN too), the experts are distinct and in
// range.
void route_token(const RouterShape& r, const float* logits, const float* selection_bias, int32_t* experts,
                 float* weights, float* scratch);

}  // namespace nutshell
