// Loop order: superrow, slice, group of 4 rows, step. A slice begins anew from the plane before it, so groups
// are independent of each other and the CPU overlaps them; a group needs few registers. The activations of a
// step are loaded again for every group: a load that repeats 4 bytes needs no vector unit.
#include "kernels/trellis.h"

#include <algorithm>

#include "kernels/trellis_step.h"

namespace nutshell {
namespace {

// Integer sums of slice b of one group; p: its first plane, before: the plane before that.
template <int K, bool kSame, Dot kDot>
NUTSHELL_INLINE V slice_sums(const uint8_t* p, const uint8_t* before, const ActRow& x, int64_t b,
                             const TableVectors& tables, V ones) {
  TrellisState s;
  s.start(load(before));
  V c[2];
  [[maybe_unused]] V run;
  if constexpr (kDot == Dot::quads) c[0] = c[1] = wasm_i32x4_splat(0);
  for_steps([&]<int t>(std::integral_constant<int, t>) {
    const V w = trellis_step<K, t, kSame>(p, tables, s);
    if constexpr (kDot == Dot::strict) {
      const V a0 = splat32(x.words + 32 * b + 4 * t), a1 = splat32(x.words + 32 * b + 4 * t + 2);
      const V sum = wasm_i32x4_add(wasm_i32x4_dot_i16x8(wasm_v128_and(w, wasm_i16x8_splat(255)), a0),
                                   wasm_i32x4_dot_i16x8(wasm_u16x8_shr(w, 8), a1));
      c[t % 2] = t < 2 ? sum : wasm_i32x4_add(c[t % 2], sum);
#if NUTSHELL_RELAXED
    } else {
      // int16 sums of kRun steps: kRun * 2 * (31 or 63) * 127 <= 32767.
      constexpr int kRun = K == 2 ? 4 : 2;
      const V a = splat32(x.bytes + 32 * b + 4 * t);
      if constexpr (kDot == Dot::quads) {
        c[t % 2] = relaxed_dot_quads(a, w, c[t % 2]);
        NUTSHELL_PIN(c[t % 2]);
      } else {
        const V products = relaxed_dot_pairs(a, w);
        run = t % kRun == 0 ? products : wasm_i16x8_add(run, products);
        if constexpr (t % kRun == kRun - 1) {
          const V wide = wasm_i32x4_dot_i16x8(run, ones);
          constexpr int i = t / kRun % 2;
          c[i] = t < 2 * kRun ? wide : wasm_i32x4_add(c[i], wide);
        }
      }
#endif
    }
  });
  (void)ones;
  return wasm_i32x4_add(c[0], c[1]);
}

// Sums of a superrow over all slices, in the activations' scale, zero point not yet taken off.
template <int K, bool kSame, Dot kDot>
NUTSHELL_NOINLINE void rows_of_superrow(const uint8_t* p, int64_t n_slices, const ActRow& x,
                                        const TrellisCode& code, float* out) {
  const TableVectors tables(code);
  const V ones = opaque(wasm_i16x8_splat(1));
  alignas(16) uint8_t first[64];
  for (int g = 0; g < 4; ++g) {
    wasm_v128_store(first + 16 * g, first_plane(code, p + 64 * (K * n_slices - 1) + 16 * g));
    wasm_v128_store(out + 4 * g, splat_f32(0));
  }
  const uint8_t* before = first;
  for (int64_t b = 0; b < n_slices; ++b, p += 64 * K) {
    const V dx = splat32(x.d + b);
    NUTSHELL_UNROLL
    for (int g = 0; g < 4; ++g) {
      const V c = slice_sums<K, kSame, kDot>(p + 16 * g, before + 16 * g, x, b, tables, ones);
      wasm_v128_store(out + 4 * g, multiply_add<kDot>(wasm_f32x4_convert_i32x4(c), dx, load(out + 4 * g)));
    }
    before = p + 64 * (K - 1);
  }
}

template <int K, bool kSame, Dot kDot>
void matvec_rows(const PackedMatrix& w, const ActRow& x, const float* bias, bool accumulate, float* y,
                 int64_t begin, int64_t end) {
  const int64_t n_slices = w.n_cols / kSlice;
  float offset = 0;
  for (int64_t b = 0; b < n_slices; ++b) offset += x.s[b];
  offset *= static_cast<float>(w.code->zero);
  for (int64_t r = begin; r < end; ++r) {
    const uint8_t* p = w.data + r * w.superrow_bytes;
    alignas(16) float sums[kSuperrow];
    rows_of_superrow<K, kSame, kDot>(p + kTrellisHeadBytes, n_slices, x, *w.code, sums);
    const int64_t row = r * kSuperrow, n = std::min<int64_t>(kSuperrow, w.n_rows - row);
    for (int64_t i = 0; i < n; ++i) {
      float v = (sums[i] - offset) * (1.0f / kActScale) * trellis_row_scale(*w.code, p, static_cast<int>(i));
      const int64_t at = w.places == nullptr ? row + i : w.places[row + i];
      if (bias != nullptr) v += bias[at];
      y[at] = accumulate ? y[at] + v : v;
    }
  }
}

// Whether T1[m] = m. Tables of 4 bits are trained so: it costs no precision there, unlike with fewer bits.
bool same_first_table(const TrellisCode& code) {
  for (int m = 0; m < 16; ++m)
    if (code.t1[m] != m) return false;
  return true;
}

template <int K, bool kSame>
void matvec_dot(const PackedMatrix& w, const ActRow& x, Dot dot, const float* bias, bool accumulate, float* y,
                int64_t begin, int64_t end) {
#if NUTSHELL_RELAXED
  if (dot == Dot::pairs) return matvec_rows<K, kSame, Dot::pairs>(w, x, bias, accumulate, y, begin, end);
  if (dot == Dot::quads) return matvec_rows<K, kSame, Dot::quads>(w, x, bias, accumulate, y, begin, end);
#endif
  (void)dot;
  matvec_rows<K, kSame, Dot::strict>(w, x, bias, accumulate, y, begin, end);
}

}  // namespace

void trellis_matvec(const PackedMatrix& w, const ActRow& x, Dot dot, const float* bias, bool accumulate,
                    float* y, int64_t begin, int64_t end) {
  visit_trellis(w.dtype, [&]<int K>(std::integral_constant<int, K>) {
    if (K == 4 && same_first_table(*w.code))
      return matvec_dot<K, K == 4>(w, x, dot, bias, accumulate, y, begin, end);
    matvec_dot<K, false>(w, x, dot, bias, accumulate, y, begin, end);
  });
}

}  // namespace nutshell
