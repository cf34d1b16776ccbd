// What the encoders of the simple formats share. L1.
#pragma once

#include <cmath>

namespace nutshell {

// The value of largest magnitude among n, with its sign; the first of equals. NaNs are passed over.
inline float signed_extreme(const float* values, int n) {
  float best = 0;
  for (int i = 0; i < n; ++i)
    if (std::fabs(values[i]) > std::fabs(best)) best = values[i];
  return best;
}

// 1 / d; 0 where that is not finite (d zero or so small that f16 would hold 0 anyway).
inline float safe_inverse(float d) {
  const float inverse = 1.0f / d;
  return std::isfinite(inverse) ? inverse : 0.0f;
}

// Cut to an integer in [0, limit]; NaN becomes 0.
inline int clamp_code(float value, int limit) {
  if (!(value >= 0)) return 0;
  return value >= static_cast<float>(limit) ? limit : static_cast<int>(value);
}

}  // namespace nutshell
