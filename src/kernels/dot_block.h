// The innermost step of the integer kernels: one slice (32 columns) of one superrow (16 rows) of packed codes
// against one quantised activation slice, as exact int32 sums. L2, private to the kernels.
//
// Value ranges that make all three forms give the same integers (activation codes |a| <= 127):
//   pairs: int16 sums of kPairs chunks: kPairs * 2 * max_code * 127 <= 32767:
//          4 bits: 8 chunks (30480); 5 bits: 4 chunks (31496); 6 bits: 2 chunks (32004)
//   quads: one pair sum within int16 (lowering by pmaddubsw): 2 * 63 * 127 and, for Q8_0 with the
//          activation planes as the 7-bit operand, 2 * 128 * 127 = 32512
//   int32: 32 * 127 * 128 = 520192
#pragma once

#include "kernels/packed.h"
#include "kernels/quantize.h"
#include "kernels/simd.h"

namespace nutshell {

inline constexpr int kGroups = 4;  // vectors of 4 rows in a superrow

// Constants of the inner loops, made once so that they stay in registers.
struct DotConstants {
  V nibble = opaque(wasm_i8x16_splat(15));
  V ones = opaque(wasm_i16x8_splat(1));
};

// u16 shift left by a constant that may be negative.
template <int n>
NUTSHELL_INLINE V shift_left(V v) {
  if constexpr (n > 0)
    return wasm_i16x8_shl(v, n);
  else if constexpr (n < 0)
    return wasm_u16x8_shr(v, -n);
  else
    return v;
}

// Codes of chunks j (low) and 4 + j (high) of group g, as bytes 0..63. codes: the slice's words.
template <typename P, int j>
NUTSHELL_INLINE void load_codes(const uint8_t* codes, int g, const DotConstants& k, V& low, V& high) {
  const V w = load(codes + 64 * j + 16 * g);
  low = wasm_v128_and(w, k.nibble);
  high = wasm_v128_and(wasm_u16x8_shr(w, 4), k.nibble);
  if constexpr (P::kBits == 5) {
    const V h = load(codes + 256 + 16 * g), bit = wasm_i8x16_splat(16);
    low = wasm_v128_or(low, wasm_v128_and(shift_left<4 - j>(h), bit));
    high = wasm_v128_or(high, wasm_v128_and(shift_left<-j>(h), bit));
  } else if constexpr (P::kBits == 6) {
    const V bits = wasm_i8x16_splat(48);
    low = wasm_v128_or(low, wasm_v128_and(shift_left<4 - 2 * j>(load(codes + 256 + 16 * g)), bits));
    high = wasm_v128_or(high, wasm_v128_and(shift_left<4 - 2 * j>(load(codes + 320 + 16 * g)), bits));
  }
}

// Sums of one slice: c[h][g] = rows 4g..4g+3; with two halves, h = 0 is columns 0..15.
template <typename P>
struct Sums {
  V c[P::kHalves][kGroups];
};

template <typename P, int j>
NUTSHELL_INLINE void step_strict(const uint8_t* codes, const int16_t* words, const DotConstants& k,
                                 Sums<P>& s) {
  constexpr int kHigh = P::kHalves - 1;
  const V even = wasm_i16x8_splat(255);
  const V a0 = splat32(words + 4 * j), a1 = splat32(words + 4 * j + 2);
  const V a2 = splat32(words + 16 + 4 * j), a3 = splat32(words + 18 + 4 * j);
  for (int g = 0; g < kGroups; ++g) {
    V low, high;
    load_codes<P, j>(codes, g, k, low, high);
    const V t = wasm_i32x4_add(wasm_i32x4_dot_i16x8(wasm_v128_and(low, even), a0),
                               wasm_i32x4_dot_i16x8(wasm_u16x8_shr(low, 8), a1));
    const V u = wasm_i32x4_add(wasm_i32x4_dot_i16x8(wasm_v128_and(high, even), a2),
                               wasm_i32x4_dot_i16x8(wasm_u16x8_shr(high, 8), a3));
    s.c[0][g] = j == 0 ? t : wasm_i32x4_add(s.c[0][g], t);
    s.c[kHigh][g] = j == 0 && kHigh == 1 ? u : wasm_i32x4_add(s.c[kHigh][g], u);
    NUTSHELL_PIN(s.c[kHigh][g]);
  }
}

#if NUTSHELL_RELAXED
// Sums of 8 (4 bits), 4 (5 bits) or 2 (6 bits) chunks stay in int16 and are then widened.
template <typename P, int j>
NUTSHELL_INLINE void step_pairs(const uint8_t* codes, const int8_t* bytes, const DotConstants& k, V (&t)[4],
                                V (&u)[4], Sums<P>& s) {
  constexpr int kSteps = P::kBits == 4 ? 4 : 2;  // steps between widenings
  const V al = splat32(bytes + 4 * j), ah = splat32(bytes + 16 + 4 * j);
  for (int g = 0; g < kGroups; ++g) {
    V low, high;
    load_codes<P, j>(codes, g, k, low, high);
    const V p = relaxed_dot_pairs(al, low), q = relaxed_dot_pairs(ah, high);
    if constexpr (P::kHalves == 2) {
      t[g] = j % kSteps == 0 ? p : wasm_i16x8_add(t[g], p);
      u[g] = j % kSteps == 0 ? q : wasm_i16x8_add(u[g], q);
    } else {
      const V pq = wasm_i16x8_add(p, q);
      t[g] = j % kSteps == 0 ? pq : wasm_i16x8_add(t[g], pq);
      NUTSHELL_PIN(t[g]);
    }
    if constexpr (j % kSteps == kSteps - 1) {
      const V wide = wasm_i32x4_dot_i16x8(t[g], k.ones);
      s.c[0][g] = j < kSteps ? wide : wasm_i32x4_add(s.c[0][g], wide);
      if constexpr (P::kHalves == 2) {
        const V wide_high = wasm_i32x4_dot_i16x8(u[g], k.ones);
        s.c[1][g] = j < kSteps ? wide_high : wasm_i32x4_add(s.c[1][g], wide_high);
      }
    }
  }
}

template <typename P, int j>
NUTSHELL_INLINE void step_quads(const uint8_t* codes, const int8_t* bytes, const DotConstants& k,
                                Sums<P>& s) {
  constexpr int kHigh = P::kHalves - 1;
  const V al = splat32(bytes + 4 * j), ah = splat32(bytes + 16 + 4 * j);
  for (int g = 0; g < kGroups; ++g) {
    V low, high;
    load_codes<P, j>(codes, g, k, low, high);
    s.c[0][g] = relaxed_dot_quads(al, low, s.c[0][g]);
    s.c[kHigh][g] = relaxed_dot_quads(ah, high, s.c[kHigh][g]);
    NUTSHELL_PIN(s.c[kHigh][g]);
  }
}

// Q8_0: the weight is the full-range operand, the activation comes in two 7-bit planes.
NUTSHELL_INLINE void dot_bytes_quads(const uint8_t* codes, const uint8_t* low, const uint8_t* sign,
                                     V (&c)[4]) {
  V n[kGroups];
  for (int g = 0; g < kGroups; ++g) c[g] = n[g] = wasm_i32x4_splat(0);
  NUTSHELL_UNROLL
  for (int j = 0; j < 8; ++j) {
    const V al = splat32(low + 4 * j), as = splat32(sign + 4 * j);
    for (int g = 0; g < kGroups; ++g) {
      const V w = load(codes + 64 * j + 16 * g);
      c[g] = relaxed_dot_quads(w, al, c[g]);
      n[g] = relaxed_dot_quads(w, as, n[g]);
      NUTSHELL_PIN(c[g]);
      NUTSHELL_PIN(n[g]);
    }
  }
  for (int g = 0; g < kGroups; ++g) c[g] = wasm_i32x4_sub(c[g], wasm_i32x4_shl(n[g], 7));
}
#endif

// Q8_0 on int16: rows 4g, 4g+1 in one sum and 4g+2, 4g+3 in another, each row as two lanes added at the end.
NUTSHELL_INLINE void dot_bytes_strict(const uint8_t* codes, const int16_t* plain, V (&c)[4]) {
  V t[kGroups], u[kGroups];
  NUTSHELL_UNROLL
  for (int j = 0; j < 8; ++j) {
    const V a = wasm_v128_load64_splat(plain + 4 * j);
    for (int g = 0; g < kGroups; ++g) {
      const V p = wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(codes + 64 * j + 16 * g), a);
      const V q = wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(codes + 64 * j + 16 * g + 8), a);
      t[g] = j == 0 ? p : wasm_i32x4_add(t[g], p);
      u[g] = j == 0 ? q : wasm_i32x4_add(u[g], q);
      NUTSHELL_PIN(t[g]);
      NUTSHELL_PIN(u[g]);
    }
  }
  for (int g = 0; g < kGroups; ++g)
    c[g] = wasm_i32x4_add(wasm_i32x4_shuffle(t[g], u[g], 0, 2, 4, 6),
                          wasm_i32x4_shuffle(t[g], u[g], 1, 3, 5, 7));
}

// Exact sums of slice b of the activation row against the slice's codes, zero point taken off.
template <typename P, Dot kDot>
NUTSHELL_INLINE void dot_slice(const uint8_t* codes, const ActRow& x, int64_t b, const DotConstants& k,
                               Sums<P>& s) {
  if constexpr (P::kBits == 8) {
#if NUTSHELL_RELAXED
    if constexpr (kDot == Dot::quads) {
      dot_bytes_quads(codes, x.low + 32 * b, x.sign + 32 * b, s.c[0]);
      return;
    }
#endif
    dot_bytes_strict(codes, x.plain + 32 * b, s.c[0]);
    return;
  } else if constexpr (kDot == Dot::strict) {
    const int16_t* words = x.words + 32 * b;
    step_strict<P, 0>(codes, words, k, s);
    step_strict<P, 1>(codes, words, k, s);
    step_strict<P, 2>(codes, words, k, s);
    step_strict<P, 3>(codes, words, k, s);
#if NUTSHELL_RELAXED
  } else if constexpr (kDot == Dot::pairs) {
    const int8_t* bytes = x.bytes + 32 * b;
    V t[4], u[4];
    step_pairs<P, 0>(codes, bytes, k, t, u, s);
    step_pairs<P, 1>(codes, bytes, k, t, u, s);
    step_pairs<P, 2>(codes, bytes, k, t, u, s);
    step_pairs<P, 3>(codes, bytes, k, t, u, s);
  } else {
    const int8_t* bytes = x.bytes + 32 * b;
    for (int h = 0; h < P::kHalves; ++h)
      for (int g = 0; g < kGroups; ++g) s.c[h][g] = wasm_i32x4_splat(0);
    step_quads<P, 0>(codes, bytes, k, s);
    step_quads<P, 1>(codes, bytes, k, s);
    step_quads<P, 2>(codes, bytes, k, s);
    step_quads<P, 3>(codes, bytes, k, s);
#endif
  }
  if constexpr (P::kZero != 0) {
    const int32_t* sums = x.sums + 2 * b;
    for (int h = 0; h < P::kHalves; ++h) {
      const int32_t sum = P::kHalves == 2 ? sums[h] : sums[0] + sums[1];
      const V zero = wasm_i32x4_splat(P::kZero * sum);
      for (int g = 0; g < kGroups; ++g) s.c[h][g] = wasm_i32x4_sub(s.c[h][g], zero);
    }
  }
}

// The activation forms that dot_slice reads.
constexpr int act_forms(int bits, Dot dot) {
  if (bits == 8) return dot == Dot::quads ? kActPlanes : kActPlain;
  return dot == Dot::strict ? kActWords : kActBytes;
}

}  // namespace nutshell
