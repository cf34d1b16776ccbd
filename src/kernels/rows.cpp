#include "kernels/rows.h"

#include <cmath>

#include "kernels/simd.h"

namespace nutshell {
namespace {

float sum_of_squares(const float* x, int64_t n) {
  V s[4];
  for (V& v : s) v = splat_f32(0);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int j = 0; j < 4; ++j) {
      const V v = load(x + i + 4 * j);
      s[j] = madd(v, v, s[j]);
    }
  float sum = sum_lanes(wasm_f32x4_add(wasm_f32x4_add(s[0], s[1]), wasm_f32x4_add(s[2], s[3])));
  for (; i < n; ++i) sum += x[i] * x[i];
  return sum;
}

NUTSHELL_INLINE V sigmoid_times(V x, V argument) {  // x / (1 + e^-argument)
  return wasm_f32x4_div(x, wasm_f32x4_add(splat_f32(1), exp_f32x4(wasm_f32x4_neg(argument))));
}

NUTSHELL_INLINE V gelu_argument(V x) {  // 2 sqrt(2 / pi) (x + 0.044715 x^3)
  const V cubic = madd(wasm_f32x4_mul(x, x), splat_f32(0.044715f), splat_f32(1));
  return wasm_f32x4_mul(wasm_f32x4_mul(x, cubic), splat_f32(1.5957691216057308f));
}

NUTSHELL_INLINE V gelu_erf(V x) {
  const V z = wasm_f32x4_mul(wasm_f32x4_abs(x), splat_f32(0.70710678118654752f));
  const V t = wasm_f32x4_div(splat_f32(1), madd(z, splat_f32(0.3275911f), splat_f32(1)));
  V p = splat_f32(1.061405429f);
  p = madd(p, t, splat_f32(-1.453152027f));
  p = madd(p, t, splat_f32(1.421413741f));
  p = madd(p, t, splat_f32(-0.284496736f));
  p = madd(p, t, splat_f32(0.254829592f));
  const V tail = wasm_f32x4_mul(wasm_f32x4_mul(p, t), exp_f32x4(wasm_f32x4_neg(wasm_f32x4_mul(z, z))));
  const V half = wasm_f32x4_mul(x, splat_f32(0.5f)),
          size = wasm_f32x4_mul(wasm_f32x4_abs(x), splat_f32(0.5f));
  // 0.5 x + 0.5 |x| (1 - tail): erf is odd.
  return wasm_f32x4_add(half, wasm_f32x4_mul(size, wasm_f32x4_sub(splat_f32(1), tail)));
}

template <Gate kGate>
NUTSHELL_INLINE V activated(V x) {
  if constexpr (kGate == Gate::gelu_erf)
    return gelu_erf(x);
  else
    return sigmoid_times(x, kGate == Gate::silu ? x : gelu_argument(x));
}

template <Gate kGate>
NUTSHELL_INLINE V activated(V gate, V up) {
  if constexpr (kGate == Gate::swiglu_clamped) {
    gate = wasm_f32x4_pmin(gate, splat_f32(7.0f));
    up = wasm_f32x4_pmax(wasm_f32x4_pmin(up, splat_f32(7.0f)), splat_f32(-7.0f));
    return wasm_f32x4_mul(sigmoid_times(gate, wasm_f32x4_mul(gate, splat_f32(1.702f))),
                          wasm_f32x4_add(up, splat_f32(1.0f)));
  } else {
    return wasm_f32x4_mul(activated<kGate>(gate), up);
  }
}

template <Gate kGate>
NUTSHELL_NOINLINE void gated(const float* gate, const float* up, int64_t n, float* out) {
  int64_t i = 0;
  if (up == nullptr) {
    for (; i + 4 <= n; i += 4) wasm_v128_store(out + i, activated<kGate>(load(gate + i)));
    for (; i < n; ++i) out[i] = wasm_f32x4_extract_lane(activated<kGate>(wasm_f32x4_splat(gate[i])), 0);
    return;
  }
  for (; i + 4 <= n; i += 4) wasm_v128_store(out + i, activated<kGate>(load(gate + i), load(up + i)));
  for (; i < n; ++i)
    out[i] = wasm_f32x4_extract_lane(activated<kGate>(wasm_f32x4_splat(gate[i]), wasm_f32x4_splat(up[i])), 0);
}

float sum_of(const float* x, int64_t n) {
  V s[4];
  for (V& v : s) v = splat_f32(0);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int j = 0; j < 4; ++j) s[j] = wasm_f32x4_add(s[j], load(x + i + 4 * j));
  float sum = sum_lanes(wasm_f32x4_add(wasm_f32x4_add(s[0], s[1]), wasm_f32x4_add(s[2], s[3])));
  for (; i < n; ++i) sum += x[i];
  return sum;
}

}  // namespace

NUTSHELL_NOINLINE void rms_norm_row(const float* in, const float* weight, int64_t width, int64_t group,
                                    float eps, float* out) {
  for (int64_t g = 0; g < width; g += group) {
    const float mean = sum_of_squares(in + g, group) / static_cast<float>(group);
    const float inverse = 1.0f / std::sqrt(mean + eps);
    const V by = splat_f32(inverse);
    int64_t i = 0;
    for (; i + 4 <= group; i += 4)
      wasm_v128_store(out + g + i, wasm_f32x4_mul(wasm_f32x4_mul(load(in + g + i), by), load(weight + i)));
    for (; i < group; ++i) out[g + i] = in[g + i] * inverse * weight[i];
  }
}

void gated_activation(Gate g, const float* gate, const float* up, int64_t n, float* out) {
  if (g == Gate::silu) {
    gated<Gate::silu>(gate, up, n, out);
  } else if (g == Gate::swiglu_clamped) {
    gated<Gate::swiglu_clamped>(gate, up, n, out);
  } else if (g == Gate::gelu_tanh) {
    gated<Gate::gelu_tanh>(gate, up, n, out);
  } else {
    gated<Gate::gelu_erf>(gate, up, n, out);
  }
}

// The mean is taken off first, so that a large mean costs no digits of the variance.
NUTSHELL_NOINLINE void layer_norm_row(const float* in, const float* weight, const float* bias, int64_t n,
                                      float eps, float* out) {
  const float mean = sum_of(in, n) / static_cast<float>(n);
  for (int64_t i = 0; i < n; ++i) out[i] = in[i] - mean;
  const float by = 1.0f / std::sqrt(sum_of_squares(out, n) / static_cast<float>(n) + eps);
  for (int64_t i = 0; i < n; ++i) {
    const float y = out[i] * by * weight[i];
    out[i] = bias == nullptr ? y : y + bias[i];
  }
}

// tanh(u) = 1 - 2 / (e^2u + 1).
NUTSHELL_NOINLINE void softcap(float* x, int64_t n, float cap) {
  const auto capped = [cap](V v) {
    const V e = exp_f32x4(wasm_f32x4_mul(v, splat_f32(2.0f / cap)));
    const V t = wasm_f32x4_sub(splat_f32(1), wasm_f32x4_div(splat_f32(2), wasm_f32x4_add(e, splat_f32(1))));
    return wasm_f32x4_mul(t, splat_f32(cap));
  };
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) wasm_v128_store(x + i, capped(load(x + i)));
  for (; i < n; ++i) x[i] = wasm_f32x4_extract_lane(capped(wasm_f32x4_splat(x[i])), 0);
}

NUTSHELL_NOINLINE void add(const float* a, const float* b, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) wasm_v128_store(out + i, wasm_f32x4_add(load(a + i), load(b + i)));
  for (; i < n; ++i) out[i] = a[i] + b[i];
}

NUTSHELL_NOINLINE void scale(const float* in, float by, int64_t n, float* out) {
  const V v = splat_f32(by);
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) wasm_v128_store(out + i, wasm_f32x4_mul(load(in + i), v));
  for (; i < n; ++i) out[i] = in[i] * by;
}

void rope_table(std::span<const double> inv_freq, float magnitude, int64_t position, float* table) {
  const size_t n = inv_freq.size();
  for (size_t i = 0; i < n; ++i) {
    const double angle = static_cast<double>(position) * inv_freq[i];
    table[i] = static_cast<float>(std::cos(angle) * static_cast<double>(magnitude));
    table[n + i] = static_cast<float>(std::sin(angle) * static_cast<double>(magnitude));
  }
}

NUTSHELL_NOINLINE void rope_row(RotaryPairs pairs, const float* table, int64_t n_rot, int64_t n_head,
                                int64_t head_dim, float* x) {
  const int64_t n = n_rot / 2;
  const float *cosines = table, *sines = table + n;
  const int64_t step = pairs == RotaryPairs::half ? 1 : 2, partner = pairs == RotaryPairs::half ? n : 1;
  for (int64_t h = 0; h < n_head; ++h, x += head_dim) {
    int64_t i = 0;
    if (pairs == RotaryPairs::half) {
      for (; i + 4 <= n; i += 4) {
        const V a = load(x + i), b = load(x + n + i), c = load(cosines + i), s = load(sines + i);
        wasm_v128_store(x + i, wasm_f32x4_sub(wasm_f32x4_mul(a, c), wasm_f32x4_mul(b, s)));
        wasm_v128_store(x + n + i, wasm_f32x4_add(wasm_f32x4_mul(a, s), wasm_f32x4_mul(b, c)));
      }
    }
    for (; i < n; ++i) {
      const float a = x[step * i], b = x[step * i + partner];
      x[step * i] = a * cosines[i] - b * sines[i];
      x[step * i + partner] = a * sines[i] + b * cosines[i];
    }
  }
}

}  // namespace nutshell
