#include "kernels/rotate.h"

#include <cmath>

#include "base/rng.h"
#include "kernels/simd.h"

namespace nutshell {
namespace {

constexpr double kTau = 6.283185307179586476925;

// The Walsh-Hadamard transform of p values, without its factor.
void hadamard(float* x, int64_t p) {
  for (int64_t step = 1; step < p; step *= 2) {
    for (int64_t i = 0; i < p; i += 2 * step) {
      if (step >= 4) {
        for (int64_t j = i; j < i + step; j += 4) {
          const V a = load(x + j), b = load(x + j + step);
          wasm_v128_store(x + j, wasm_f32x4_add(a, b));
          wasm_v128_store(x + j + step, wasm_f32x4_sub(a, b));
        }
      } else {
        for (int64_t j = i; j < i + step; ++j) {
          const float a = x[j], b = x[j + step];
          x[j] = a + b;
          x[j + step] = a - b;
        }
      }
    }
  }
}

// The first two stages of every four values at once.
void hadamard4(float* x, int64_t n) {
  const V odd = wasm_i32x4_make(0, INT32_MIN, 0, INT32_MIN),
          high = wasm_i32x4_make(0, 0, INT32_MIN, INT32_MIN);
  for (int64_t i = 0; i < n; i += 4) {
    V v = load(x + i);
    v = wasm_f32x4_add(wasm_i32x4_shuffle(v, v, 1, 0, 3, 2), wasm_v128_xor(v, odd));
    v = wasm_f32x4_add(wasm_i32x4_shuffle(v, v, 2, 3, 0, 1), wasm_v128_xor(v, high));
    wasm_v128_store(x + i, v);
  }
}

void hadamard_blocks(const Rotation& r, float* x) {
  if (r.p < 4) {
    for (int64_t a = 0; a < r.m; ++a) hadamard(x + a * r.p, r.p);
    return;
  }
  hadamard4(x, r.n);
  for (int64_t a = 0; a < r.m; ++a) {
    float* block = x + a * r.p;
    int64_t step = 4;
    for (; 4 * step <= r.p; step *= 4) {  // two stages in one pass
      for (int64_t i = 0; i < r.p; i += 4 * step)
        for (int64_t j = i; j < i + step; j += 4) {
          const V v0 = load(block + j), v1 = load(block + j + step);
          const V v2 = load(block + j + 2 * step), v3 = load(block + j + 3 * step);
          const V s0 = wasm_f32x4_add(v0, v1), d0 = wasm_f32x4_sub(v0, v1);
          const V s1 = wasm_f32x4_add(v2, v3), d1 = wasm_f32x4_sub(v2, v3);
          wasm_v128_store(block + j, wasm_f32x4_add(s0, s1));
          wasm_v128_store(block + j + step, wasm_f32x4_add(d0, d1));
          wasm_v128_store(block + j + 2 * step, wasm_f32x4_sub(s0, s1));
          wasm_v128_store(block + j + 3 * step, wasm_f32x4_sub(d0, d1));
        }
    }
    for (; step < r.p; step *= 2)
      for (int64_t j = 0; j < step; j += 4) {
        const V v0 = load(block + j), v1 = load(block + j + step);
        wasm_v128_store(block + j, wasm_f32x4_add(v0, v1));
        wasm_v128_store(block + j + step, wasm_f32x4_sub(v0, v1));
      }
  }
}

// Q on the blocks, four columns of all of them at a time. Strict in every flavour: the compressor turns
// weights with it, and its files have the same bits everywhere.
void mix(const Rotation& r, float* x) {
  if (r.m == 1) return;
  V in[kMaxRotationOdd];
  const int64_t width = r.p < 4 ? 1 : 4;
  for (int64_t b = 0; b < r.p; b += width) {
    for (int64_t a = 0; a < r.m; ++a) in[a] = width == 4 ? load(x + a * r.p + b) : splat32(x + a * r.p + b);
    for (int64_t a = 0; a < r.m; ++a) {
      const float* q = r.q.data() + a * r.m;
      V even = splat_f32(0), odd = splat_f32(0);
      int64_t k = 0;
      for (; k + 2 <= r.m; k += 2) {
        even = multiply_add<Dot::strict>(splat32(q + k), in[k], even);
        odd = multiply_add<Dot::strict>(splat32(q + k + 1), in[k + 1], odd);
      }
      const V sum = wasm_f32x4_add(multiply_add<Dot::strict>(splat32(q + k), in[k], even), odd);  // m is odd
      if (width == 4)
        wasm_v128_store(x + a * r.p + b, sum);
      else
        x[a * r.p + b] = wasm_f32x4_extract_lane(sum, 0);
    }
  }
}

void apply_signs(const Rotation& r, const float* in, float* out) {
  int64_t i = 0;
  for (; i + 4 <= r.n; i += 4)
    wasm_v128_store(out + i, wasm_f32x4_mul(load(in + i), load(r.signs.data() + i)));
  for (; i < r.n; ++i) out[i] = in[i] * r.signs[static_cast<size_t>(i)];
}

}  // namespace

Rotation make_rotation(int64_t n, uint64_t seed) {
  Rotation r;
  r.n = n;
  r.m = rotation_odd(n);
  r.p = n / r.m;
  const double by = 1.0 / std::sqrt(static_cast<double>(r.p));
  for (int64_t c = 0; c < n; ++c)
    r.signs.push_back(static_cast<float>(counter_rng(seed, static_cast<uint64_t>(c)) >> 63 != 0 ? -by : by));
  const auto m = static_cast<double>(r.m);
  for (int64_t j = 0; j < r.m; ++j)
    for (int64_t k = 0; k < r.m; ++k) {
      const double angle = kTau * static_cast<double>(j * k % r.m) / m;
      r.q.push_back(static_cast<float>((std::cos(angle) + std::sin(angle)) / std::sqrt(m)));
    }
  return r;
}

NUTSHELL_NOINLINE void rotate_row(const Rotation& r, const float* in, float* out) {
  apply_signs(r, in, out);
  hadamard_blocks(r, out);
  mix(r, out);
}

NUTSHELL_NOINLINE void rotate_back(const Rotation& r, float* x) {
  hadamard_blocks(r, x);
  mix(r, x);
  apply_signs(r, x, x);
}

}  // namespace nutshell
