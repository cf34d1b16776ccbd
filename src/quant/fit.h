// How the encoders of the block formats choose scales: the least squared error over a few starting points,
// each improved by alternating nearest codes and least squares (Lloyd's algorithm with the codes on a line).
// L1. Deterministic: plain f32 operations in a fixed order. Any input is fine; what is not finite gives
// scales that are not finite either.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "quant/encode.h"

namespace nutshell {

// value ~ scale * code - minimum, codes 0..limit, scale >= 0, minimum >= 0: what the K formats with minima
// hold.
struct AffineFit {
  float scale = 0, minimum = 0;
};

// Sums run in this many lanes, so that compilers may use vectors without changing results. All n are
// multiples.
inline constexpr int kFitLanes = 8;

inline float sum_of(const float* lanes) {
  float sum = 0;
  for (int l = 0; l < kFitLanes; ++l) sum += lanes[l];
  return sum;
}

// The integer below value + 1/2, cut to [0, limit]; NaN becomes 0.
inline float nearest_code(float value, float limit) {
  const float positive = value + 0.5f > 0.0f ? value + 0.5f : 0.0f;
  return static_cast<float>(static_cast<int32_t>(positive < limit ? positive : limit));
}

// Squared error of n values at their nearest codes; into codes, when there is room for them.
inline float affine_error(const float* values, int n, int limit, AffineFit fit, uint8_t* codes = nullptr) {
  const float inverse = safe_inverse(fit.scale), most = static_cast<float>(limit);
  float error[kFitLanes] = {};
  for (int i = 0; i < n; i += kFitLanes)
    for (int l = 0; l < kFitLanes; ++l) {
      const float code = nearest_code((values[i + l] + fit.minimum) * inverse, most);
      const float e = fit.scale * code - fit.minimum - values[i + l];
      error[l] += e * e;
    }
  for (int i = 0; codes != nullptr && i < n; ++i)
    codes[i] = static_cast<uint8_t>(nearest_code((values[i] + fit.minimum) * inverse, most));
  return sum_of(error);
}

// Least squares for the codes that `fit` gives.
inline AffineFit refit_affine(const float* values, int n, int limit, AffineFit fit) {
  const float inverse = safe_inverse(fit.scale), most = static_cast<float>(limit);
  float c1[kFitLanes] = {}, c2[kFitLanes] = {}, x1[kFitLanes] = {}, cx[kFitLanes] = {};
  for (int i = 0; i < n; i += kFitLanes)
    for (int l = 0; l < kFitLanes; ++l) {
      const float x = values[i + l], c = nearest_code((x + fit.minimum) * inverse, most);
      c1[l] += c;
      c2[l] += c * c;
      x1[l] += x;
      cx[l] += c * x;
    }
  const float sum_c = sum_of(c1), sum_cc = sum_of(c2), sum_x = sum_of(x1), sum_cx = sum_of(cx);
  const auto count = static_cast<float>(n);
  const float determinant = count * sum_cc - sum_c * sum_c;
  if (!(determinant > 0)) return fit;  // all codes are equal
  const float scale = (count * sum_cx - sum_c * sum_x) / determinant;
  const float minimum = (sum_c * sum_cx - sum_cc * sum_x) / determinant;
  if (minimum >= 0) return {std::max(scale, 0.0f), minimum};
  return {std::max(sum_cx / sum_cc, 0.0f), 0};
}

inline AffineFit fit_affine(const float* values, int n, int limit) {
  const auto [low, high] = std::minmax_element(values, values + n);
  const float minimum = std::max(-*low, 0.0f), range = std::max(*high, 0.0f) + minimum;
  AffineFit best{range / static_cast<float>(limit), minimum};
  float least = affine_error(values, n, limit, best);
  // From a range a tenth wider to one that is cut by a seventh, which trades the extremes for the rest.
  for (int start = -12; start <= 20; ++start) {
    const AffineFit fit =
        refit_affine(values, n, limit,
                     {range / (static_cast<float>(limit) + 0.125f * static_cast<float>(start)), minimum});
    const float error = affine_error(values, n, limit, fit);
    if (error < least) {
      least = error;
      best = fit;
    }
  }
  return best;
}

// Squared error of n values at scale * code, codes -limit..limit - 1; into codes, when there is room for
// them.
inline float signed_error(const float* values, int n, int limit, float scale, int8_t* codes = nullptr) {
  const float inverse = safe_inverse(scale), zero = static_cast<float>(limit), most = 2 * zero - 1;
  float error[kFitLanes] = {};
  for (int i = 0; i < n; i += kFitLanes)
    for (int l = 0; l < kFitLanes; ++l) {
      const float e = scale * (nearest_code(values[i + l] * inverse + zero, most) - zero) - values[i + l];
      error[l] += e * e;
    }
  for (int i = 0; codes != nullptr && i < n; ++i)
    codes[i] = static_cast<int8_t>(nearest_code(values[i] * inverse + zero, most) - zero);
  return sum_of(error);
}

// The scale, of either sign, for codes -limit..limit - 1.
inline float fit_signed(const float* values, int n, int limit) {
  const float extreme = signed_extreme(values, n), zero = static_cast<float>(limit), most = 2 * zero - 1;
  float best = extreme / -zero;
  float least = signed_error(values, n, limit, best);
  for (int start = -4; start <= 4; ++start) {
    const float inverse = safe_inverse(extreme / (-zero + 0.02f * zero * static_cast<float>(start)));
    float c2[kFitLanes] = {}, cx[kFitLanes] = {};
    for (int i = 0; i < n; i += kFitLanes)
      for (int l = 0; l < kFitLanes; ++l) {
        const float x = values[i + l], c = nearest_code(x * inverse + zero, most) - zero;
        c2[l] += c * c;
        cx[l] += c * x;
      }
    const float sum_cc = sum_of(c2);
    if (!(sum_cc > 0)) continue;
    const float refit = sum_of(cx) / sum_cc, error = signed_error(values, n, limit, refit);
    if (error < least) {
      least = error;
      best = refit;
    }
  }
  return best;
}

}  // namespace nutshell
