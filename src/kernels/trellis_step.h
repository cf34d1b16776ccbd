// Decoding of the trellis formats into bytes, four columns of four rows at a time (quant/trellis.h has the
// layout). L2, private to the kernels.
#pragma once

#include "kernels/simd.h"
#include "quant/trellis.h"

namespace nutshell {

// table[index] per byte; index bytes in 0..15.
NUTSHELL_INLINE V lookup16(V table, V index) {
#if defined(__wasm_relaxed_simd__)
  return wasm_i8x16_relaxed_swizzle(table, index);
#elif !defined(__wasm__) && defined(__SSSE3__)
  return _mm_shuffle_epi8(table, index);
#else
  return wasm_i8x16_swizzle(table, index);
#endif
}

// A tensor's tables in registers.
struct TableVectors {
  V t1, t2;
  explicit TableVectors(const TrellisCode& code) : t1(load(code.t1)), t2(load(code.t2)) {}
};

// The plane before the first slice of a group. last: the group's part of the row's last plane: stream i goes
// on from the end of stream i - 1.
NUTSHELL_INLINE V first_plane(const TrellisCode& code, const uint8_t* last) {
  const V ends = wasm_v128_and(load(last), wasm_i8x16_splat(static_cast<int8_t>(0xf0)));
  return wasm_v128_or(wasm_i32x4_shl(ends, 8), wasm_i32x4_splat(code.start << 4));
}

// What a group of four rows carries from one step to the next.
struct TrellisState {
  V window;  // M_{t-1}
  V byte;    // the last plane of the slice before: its upper bits belong to windows of this one
  // before: the plane before the next slice. Its last four bits are a window.
  NUTSHELL_INLINE void start(V before) {
    byte = before;
    window = wasm_v128_and(wasm_u16x8_shr(before, 4), wasm_i8x16_splat(15));
  }
};

template <int n>
NUTSHELL_INLINE V bits_down(V v, int mask) {
  return wasm_v128_and(n == 0 ? v : wasm_u16x8_shr(v, n), wasm_i8x16_splat(static_cast<int8_t>(mask)));
}
template <int n>
NUTSHELL_INLINE V bits_up(V v, int mask) {
  return wasm_v128_and(wasm_i16x8_shl(v, n), wasm_i8x16_splat(static_cast<int8_t>(mask)));
}

// M_t of step t (0..7) of a slice: bits K (t + 1) - 4 .. of the planes, which lie 64 bytes apart at p.
// before: the plane before the first.
template <int K, int t>
NUTSHELL_INLINE V trellis_window(const uint8_t* p, V before) {
  constexpr int kFirst = K * (t + 1) - 4;  // may be negative
  constexpr int kPlane = kFirst < 0 ? -1 : kFirst / 8, kBit = kFirst - 8 * kPlane;
  const V low = kPlane < 0 ? before : load(p + 64 * kPlane);
  if constexpr (kBit <= 4) {
    return bits_down<kBit>(low, 15);
  } else {
    constexpr int kHave = 8 - kBit;  // bits in the lower plane
    return wasm_v128_or(bits_down<kBit>(low, (1 << kHave) - 1),
                        bits_up<kHave>(load(p + 64 * (kPlane + 1)), 15 & ~((1 << kHave) - 1)));
  }
}

// The sums of table entries at step t; moves the state's window on. kSame: T1[m] = m, which saves a look-up.
template <int K, int t, bool kSame = false>
NUTSHELL_INLINE V trellis_step(const uint8_t* p, const TableVectors& tables, TrellisState& s) {
  const V window = trellis_window<K, t>(p, s.byte);
  const V first = kSame ? s.window : lookup16(tables.t1, s.window);
  s.window = window;
  if constexpr (t == 7) s.byte = load(p + 64 * (K - 1));
  return wasm_i8x16_add(first, lookup16(tables.t2, window));
}

// Calls fn(std::integral_constant<int, t>{}) for the steps of a slice.
template <typename Fn>
NUTSHELL_INLINE void for_steps(Fn&& fn) {
  fn(std::integral_constant<int, 0>{});
  fn(std::integral_constant<int, 1>{});
  fn(std::integral_constant<int, 2>{});
  fn(std::integral_constant<int, 3>{});
  fn(std::integral_constant<int, 4>{});
  fn(std::integral_constant<int, 5>{});
  fn(std::integral_constant<int, 6>{});
  fn(std::integral_constant<int, 7>{});
}

}  // namespace nutshell
