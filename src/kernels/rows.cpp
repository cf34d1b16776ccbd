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

template <Gate kGate>
NUTSHELL_NOINLINE void gated(const float* gate, const float* up, int64_t n, float* out) {
  const auto four = [](V g, V u) {
    if constexpr (kGate == Gate::swiglu_clamped) {
      g = wasm_f32x4_pmin(g, splat_f32(7.0f));
      u = wasm_f32x4_pmax(wasm_f32x4_pmin(u, splat_f32(7.0f)), splat_f32(-7.0f));
      return wasm_f32x4_mul(sigmoid_times(g, wasm_f32x4_mul(g, splat_f32(1.702f))),
                            wasm_f32x4_add(u, splat_f32(1.0f)));
    }
    return wasm_f32x4_mul(sigmoid_times(g, kGate == Gate::silu ? g : gelu_argument(g)), u);
  };
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) wasm_v128_store(out + i, four(load(gate + i), load(up + i)));
  for (; i < n; ++i)
    out[i] = wasm_f32x4_extract_lane(four(wasm_f32x4_splat(gate[i]), wasm_f32x4_splat(up[i])), 0);
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
  } else {
    gated<Gate::gelu_tanh>(gate, up, n, out);
  }
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
