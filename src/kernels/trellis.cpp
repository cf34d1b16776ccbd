// Loop order: superrow, 8 rows of it, slice, step, group of 4 rows. Two groups at a time: their windows, sums
// and the tables fit the vector registers, and each activation load serves both.
#include "kernels/trellis.h"

#include <algorithm>

#include "kernels/trellis_step.h"

namespace nutshell {
namespace {

constexpr int kPair = 2;  // groups at a time

// Integer sums of slice b for two groups; p: the first group's first plane.
template <int K, Dot kDot>
NUTSHELL_INLINE void slice_sums(const uint8_t* p, const ActRow& x, int64_t b, const TableVectors& tables,
                                V ones, TrellisState (&s)[kPair], V (&c)[kPair]) {
  [[maybe_unused]] V run[kPair];
  if constexpr (kDot == Dot::quads)
    for (V& v : c) v = wasm_i32x4_splat(0);
  for_steps([&]<int t>(std::integral_constant<int, t>) {
    if constexpr (kDot == Dot::strict) {
      const V a0 = splat32(x.words + 32 * b + 4 * t), a1 = splat32(x.words + 32 * b + 4 * t + 2);
      for (int g = 0; g < kPair; ++g) {
        const V w = trellis_step<K, t>(p + 16 * g, tables, s[g]);
        const V sum = wasm_i32x4_add(wasm_i32x4_dot_i16x8(wasm_v128_and(w, wasm_i16x8_splat(255)), a0),
                                     wasm_i32x4_dot_i16x8(wasm_u16x8_shr(w, 8), a1));
        c[g] = t == 0 ? sum : wasm_i32x4_add(c[g], sum);
        NUTSHELL_PIN(c[g]);
      }
#if NUTSHELL_RELAXED
    } else {
      // int16 sums of kRun steps: kRun * 2 * (31 or 63) * 127 <= 32767.
      constexpr int kRun = K == 2 ? 4 : 2;
      const V a = splat32(x.bytes + 32 * b + 4 * t);
      for (int g = 0; g < kPair; ++g) {
        const V w = trellis_step<K, t>(p + 16 * g, tables, s[g]);
        if constexpr (kDot == Dot::quads) {
          c[g] = relaxed_dot_quads(a, w, c[g]);
        } else {
          const V products = relaxed_dot_pairs(a, w);
          run[g] = t % kRun == 0 ? products : wasm_i16x8_add(run[g], products);
          NUTSHELL_PIN(run[g]);
          if constexpr (t % kRun == kRun - 1) {
            const V wide = wasm_i32x4_dot_i16x8(run[g], ones);
            c[g] = t < kRun ? wide : wasm_i32x4_add(c[g], wide);
          }
        }
      }
#endif
    }
  });
  (void)ones;
}

// Sums of two groups over all slices, in the activations' scale, zero point not yet taken off.
template <int K, Dot kDot>
NUTSHELL_NOINLINE void rows_of_pair(const uint8_t* p, int64_t n_slices, const ActRow& x,
                                    const TrellisCode& code, float* out) {
  const TableVectors tables(code);
  const V ones = opaque(wasm_i16x8_splat(1));
  TrellisState s[kPair];
  V acc[kPair];
  for (int g = 0; g < kPair; ++g) {
    s[g].start(code, p + 64 * (K * n_slices - 1) + 16 * g);
    acc[g] = splat_f32(0);
  }
  for (int64_t b = 0; b < n_slices; ++b, p += 64 * K) {
    V c[kPair];
    slice_sums<K, kDot>(p, x, b, tables, ones, s, c);
    const V dx = splat32(x.d + b);
    for (int g = 0; g < kPair; ++g) acc[g] = multiply_add<kDot>(wasm_f32x4_convert_i32x4(c[g]), dx, acc[g]);
  }
  for (int g = 0; g < kPair; ++g) wasm_v128_store(out + 4 * g, acc[g]);
}

template <int K, Dot kDot>
void matvec_rows(const PackedMatrix& w, const ActRow& x, const float* bias, bool accumulate, float* y,
                 int64_t begin, int64_t end) {
  const int64_t n_slices = w.n_cols / kSlice;
  float offset = 0;
  for (int64_t b = 0; b < n_slices; ++b) offset += x.s[b];
  offset *= static_cast<float>(w.code->zero);
  for (int64_t r = begin; r < end; ++r) {
    const uint8_t* p = w.data + r * w.superrow_bytes;
    alignas(16) float sums[kSuperrow];
    for (int half = 0; half < 2; ++half)
      rows_of_pair<K, kDot>(p + kTrellisHeadBytes + 32 * half, n_slices, x, *w.code, sums + 8 * half);
    const int64_t row = r * kSuperrow, n = std::min<int64_t>(kSuperrow, w.n_rows - row);
    for (int64_t i = 0; i < n; ++i) {
      float v = (sums[i] - offset) * (1.0f / kActScale) * trellis_row_scale(*w.code, p, static_cast<int>(i));
      const int64_t at = w.places == nullptr ? row + i : w.places[row + i];
      if (bias != nullptr) v += bias[at];
      y[at] = accumulate ? y[at] + v : v;
    }
  }
}

}  // namespace

void trellis_matvec(const PackedMatrix& w, const ActRow& x, Dot dot, const float* bias, bool accumulate,
                    float* y, int64_t begin, int64_t end) {
  visit_trellis(w.dtype, [&]<int K>(std::integral_constant<int, K>) {
#if NUTSHELL_RELAXED
    if (dot == Dot::pairs) return matvec_rows<K, Dot::pairs>(w, x, bias, accumulate, y, begin, end);
    if (dot == Dot::quads) return matvec_rows<K, Dot::quads>(w, x, bias, accumulate, y, begin, end);
#endif
    (void)dot;
    matvec_rows<K, Dot::strict>(w, x, bias, accumulate, y, begin, end);
  });
}

}  // namespace nutshell
