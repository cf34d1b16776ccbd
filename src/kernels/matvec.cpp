// Loop order: superrow, slice, step, group: weights stream once in memory order, 16 sums stay in registers.
// Tried and lost: 4 or 8 superrows side by side, a slice each in turn. Reading alone is up to twice as fast
// so on an Intel server (8.5 against 17 GB/s), but with the arithmetic between the loads decoding came out 0
// to 25 % slower.
#include "kernels/matvec.h"

#include <algorithm>

#include "kernels/dot_block.h"
#include "kernels/trellis.h"

namespace nutshell {
namespace {

// Formats with one f16 scale (and minimum) per slice.
template <typename P, Dot kDot>
NUTSHELL_INLINE void superrow_simple(const uint8_t* p, int64_t n_super, const ActRow& x, V (&acc)[kGroups]) {
  const DotConstants k;
  const V mask = f16_mask();
  for (int64_t b = 0; b < n_super; ++b, p += P::kSuperBytes) {
    Sums<P> s;
    dot_slice<P, kDot>(p + P::kHeadBytes, x, b, k, s);
    const V dx = splat32(x.d + b), sx = splat32(x.s + b);
    for (int g = 0; g < kGroups; ++g) {
      const V d = wasm_f32x4_mul(load_f16_raw(p + 8 * g, mask), dx);
      acc[g] = multiply_add<kDot>(wasm_f32x4_convert_i32x4(s.c[0][g]), d, acc[g]);
      if constexpr (P::kHasMin) acc[g] = multiply_add<kDot>(load_f16_raw(p + 32 + 8 * g, mask), sx, acc[g]);
    }
  }
}

// K-quants: sums of a super-block are collected with the integer scales first and meet d and dmin at its end.
template <typename P, Dot kDot>
NUTSHELL_INLINE void superrow_k(const uint8_t* p, int64_t n_super, const ActRow& x, V (&acc)[kGroups]) {
  const DotConstants k;
  for (int64_t sb = 0; sb < n_super; ++sb, p += P::kSuperBytes) {
    V scaled[kGroups], minima[kGroups];
    for (int g = 0; g < kGroups; ++g) scaled[g] = minima[g] = splat_f32(0);
    const uint8_t* slice = p + P::kHeadBytes;
    for (int64_t b = sb * 8; b < sb * 8 + 8; ++b, slice += P::kSliceBytes) {
      Sums<P> s;
      dot_slice<P, kDot>(slice + P::kScaleBytes, x, b, k, s);
      const V dx = splat32(x.d + b), sx = splat32(x.s + b);
      for (int g = 0; g < kGroups; ++g) {
        V sum;
        if constexpr (P::kKind == ScaleKind::k_16) {  // (scale of half 0, of half 1) per row
          const V pairs = wasm_i16x8_load8x8(slice + 8 * g);
          const V first = wasm_i32x4_shr(wasm_i32x4_shl(pairs, 16), 16), second = wasm_i32x4_shr(pairs, 16);
          sum = wasm_i32x4_add(wasm_i32x4_mul(s.c[0][g], first), wasm_i32x4_mul(s.c[1][g], second));
        } else {
          sum = wasm_i32x4_mul(s.c[0][g], load_u8x4(slice + 4 * g));
          const V minimum = wasm_f32x4_convert_i32x4(load_u8x4(slice + 16 + 4 * g));
          minima[g] = multiply_add<kDot>(minimum, sx, minima[g]);
        }
        scaled[g] = multiply_add<kDot>(wasm_f32x4_convert_i32x4(sum), dx, scaled[g]);
      }
    }
    const V mask = f16_mask();
    for (int g = 0; g < kGroups; ++g) {
      acc[g] = multiply_add<kDot>(load_f16_raw(p + 8 * g, mask), scaled[g], acc[g]);
      if constexpr (P::kHasMin)
        acc[g] = multiply_add<kDot>(load_f16_raw(p + 32 + 8 * g, mask), wasm_f32x4_neg(minima[g]), acc[g]);
    }
  }
}

template <typename P, Dot kDot>
NUTSHELL_NOINLINE void matvec_rows(const PackedMatrix& w, const ActRow& x, const float* bias, bool accumulate,
                                   float* y, int64_t begin, int64_t end) {
  const int64_t n_super = w.n_cols / P::kSuperColumns;
  for (int64_t r = begin; r < end; ++r) {
    const uint8_t* p = w.data + r * w.superrow_bytes;
    V acc[kGroups];
    for (int g = 0; g < kGroups; ++g) acc[g] = splat_f32(0);
    if constexpr (P::kIsK) {
      superrow_k<P, kDot>(p + kFactorBytes, n_super, x, acc);
    } else {
      superrow_simple<P, kDot>(p + kFactorBytes, n_super, x, acc);
    }
    const V factor = splat32(p);
    alignas(16) float out[kSuperrow];
    for (int g = 0; g < kGroups; ++g) wasm_v128_store(out + 4 * g, wasm_f32x4_mul(acc[g], factor));
    const int64_t row = r * kSuperrow, n = std::min<int64_t>(kSuperrow, w.n_rows - row);
    for (int64_t i = 0; i < n; ++i) {
      float v = out[i];
      if (bias != nullptr) v += bias[row + i];
      y[row + i] = accumulate ? y[row + i] + v : v;
    }
  }
}

}  // namespace

int matvec_forms(DType dtype, Dot dot) {
  if (is_trellis(dtype)) return dot == Dot::strict ? kActWords : kActBytes;
  int forms = 0;
  visit_packed(dtype, [&]<DType D>(Format<D>) { forms = act_forms(Packed<D>::kBits, dot); });
  return forms;
}

void matvec(const PackedMatrix& w, const ActRow& x, Dot dot, const float* bias, bool accumulate, float* y,
            int64_t begin, int64_t end) {
  if (is_trellis(w.dtype)) return trellis_matvec(w, x, dot, bias, accumulate, y, begin, end);
  visit_packed(w.dtype, [&]<DType D>(Format<D>) {
    using P = Packed<D>;
#if NUTSHELL_RELAXED
    if (dot == Dot::pairs) return matvec_rows<P, Dot::pairs>(w, x, bias, accumulate, y, begin, end);
    if (dot == Dot::quads) return matvec_rows<P, Dot::quads>(w, x, bias, accumulate, y, begin, end);
#endif
    (void)dot;
    matvec_rows<P, Dot::strict>(w, x, bias, accumulate, y, begin, end);
  });
}

}  // namespace nutshell
