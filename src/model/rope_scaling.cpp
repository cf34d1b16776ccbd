#include "model/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace nutshell {
namespace {

// The pair index at which a wave turns `turns` times within the trained context.
double correction_index(const RopeParams& p, double turns) {
  return static_cast<double>(p.n_rot) * std::log(p.n_ctx_orig / (turns * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(p.freq_base));
}

// 1: keep the frequency (fast waves), 0: interpolate it (slow waves), a ramp between.
double yarn_mix(const RopeParams& p, int64_t pair) {
  double low = correction_index(p, p.beta_fast), high = correction_index(p, p.beta_slow);
  if (p.whole_pairs) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(0.0, low);
  high = std::min(static_cast<double>(p.n_rot) - 1.0, high);
  const double y = (static_cast<double>(pair) - low) / std::max(0.001, high - low);
  return (1.0 - std::clamp(y, 0.0, 1.0)) * p.ext_factor;
}

}  // namespace

RopeSpec make_rope(const RopeParams& params, std::span<const float> freq_factors) {
  RopeSpec spec;
  spec.n_rot = params.n_rot;
  const bool scaled = params.scaling == RopeScaling::linear || params.scaling == RopeScaling::yarn;
  const double scale = scaled ? 1.0 / params.factor : 1.0;
  const bool yarn = params.scaling == RopeScaling::yarn && params.ext_factor != 0.0;
  for (int64_t i = 0; i < params.n_rot / 2; ++i) {
    double freq =
        std::pow(params.freq_base, -2.0 * static_cast<double>(i) / static_cast<double>(params.n_rot));
    if (static_cast<size_t>(i) < freq_factors.size()) {
      const double divisor = freq_factors[static_cast<size_t>(i)];
      if (std::isfinite(divisor) && divisor != 0.0) freq /= divisor;
    }
    const double mix = yarn ? yarn_mix(params, i) : 0.0;
    spec.inv_freq.push_back(freq * (scale * (1.0 - mix) + mix));
  }
  double magnitude = params.attn_factor;
  if (yarn && params.factor > 1.0) magnitude *= 1.0 + 0.1 * std::log(params.factor);
  spec.magnitude = static_cast<float>(magnitude);
  return spec;
}

}  // namespace nutshell
