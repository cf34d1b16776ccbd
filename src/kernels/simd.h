// The SIMD vocabulary of the kernels: WebAssembly's 128-bit intrinsics, compiled natively through SIMDe, plus
// what differs between the flavours. L2.
//
// Flavours. A strict build (wasm without -mrelaxed-simd) has Dot::strict only. A relaxed build (and every
// native one) also has the two relaxed forms of the integer dot product and a fused multiply-add; which of
// the two is faster depends on the CPU and is measured at start-up (tune.h).
// The relaxed integer operations are used only where the value ranges make every lowering give the same bits:
// the second operand stays in 0..127 and no pair sum leaves int16.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __wasm__
#include <wasm_simd128.h>
#else
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/wasm/simd128.h>
#if defined(__SSSE3__)
#include <immintrin.h>
#endif
#endif

#define NUTSHELL_INLINE inline __attribute__((always_inline))
#define NUTSHELL_NOINLINE __attribute__((noinline))
#ifdef __clang__
#define NUTSHELL_UNROLL _Pragma("unroll")
#define NUTSHELL_NO_UNROLL _Pragma("nounroll")
#else
#define NUTSHELL_UNROLL _Pragma("GCC unroll 32")
#define NUTSHELL_NO_UNROLL _Pragma("GCC unroll 1")
#endif

#if defined(__wasm__) && !defined(NUTSHELL_SIMD_FLAVOUR)
#error "compiled once for all flavours of SIMD: CMakeLists.txt lists the folders that may include this"
#endif
#if !defined(__wasm__) || defined(__wasm_relaxed_simd__)
#define NUTSHELL_RELAXED 1
#else
#define NUTSHELL_RELAXED 0
#endif

// Keeps a value in a register at this place: stops the compiler from re-ordering or re-making it.
#if defined(__wasm__)
#define NUTSHELL_PIN(v) asm volatile("" : "+r"(v))
#elif defined(__SSE2__)
#define NUTSHELL_PIN(v) asm volatile("" : "+x"(v))
#else
#define NUTSHELL_PIN(v) (void)0
#endif

namespace nutshell {

using V = v128_t;

// How the integer dot products are formed.
enum class Dot : uint8_t {
  strict,  // i32x4.dot_i16x8 only
  pairs,   // i16x8.relaxed_dot_i8x16_i7x16, summed in int16 while that is exact: best without VNNI / dotprod
  quads,   // four products summed in int32 at once: best where one instruction does it
};

// A constant the compiler cannot sink into a loop as an immediate.
NUTSHELL_INLINE V opaque(V v) {
  NUTSHELL_PIN(v);
  return v;
}

NUTSHELL_INLINE V load(const void* p) { return wasm_v128_load(p); }
NUTSHELL_INLINE V splat32(const void* p) { return wasm_v128_load32_splat(p); }
NUTSHELL_INLINE V splat_f32(float x) { return wasm_f32x4_splat(x); }

#if NUTSHELL_RELAXED
#ifdef __wasm__
NUTSHELL_INLINE V relaxed_dot_pairs(V a, V b) { return wasm_i16x8_relaxed_dot_i8x16_i7x16(a, b); }
// One instruction on CPUs with VNNI or dotprod. V8 before 12 (node 20) gives wrong sums for it in optimised
// code: best_dot() compares before it chooses the form (tune.cpp).
NUTSHELL_INLINE V relaxed_dot_quads(V a, V b, V c) { return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(a, b, c); }
NUTSHELL_INLINE V relaxed_madd(V a, V b, V c) { return wasm_f32x4_relaxed_madd(a, b, c); }
NUTSHELL_INLINE V relaxed_nmadd(V a, V b, V c) { return wasm_f32x4_relaxed_nmadd(a, b, c); }
#else
// int16 lane i = a[2i] * b[2i] + a[2i+1] * b[2i+1]; a int8, b in 0..127.
NUTSHELL_INLINE V relaxed_dot_pairs(V a, V b) {
#if defined(__SSSE3__)
  return _mm_maddubs_epi16(b, a);
#else
  int8_t x[16], y[16];
  int16_t r[8];
  std::memcpy(x, &a, 16);
  std::memcpy(y, &b, 16);
  for (int i = 0; i < 8; ++i) r[i] = static_cast<int16_t>(x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1]);
  return load(r);
#endif
}
// int32 lane i = c[i] + the four products a[4i+j] * b[4i+j]; a int8, b in 0..127.
NUTSHELL_INLINE V relaxed_dot_quads(V a, V b, V c) {
  return wasm_i32x4_add(c, wasm_i32x4_dot_i16x8(relaxed_dot_pairs(a, b), wasm_i16x8_splat(1)));
}
#if defined(__FMA__)
NUTSHELL_INLINE V relaxed_madd(V a, V b, V c) {
  return _mm_castps_si128(_mm_fmadd_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), _mm_castsi128_ps(c)));
}
NUTSHELL_INLINE V relaxed_nmadd(V a, V b, V c) {
  return _mm_castps_si128(_mm_fnmadd_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), _mm_castsi128_ps(c)));
}
#else
NUTSHELL_INLINE V relaxed_madd(V a, V b, V c) { return wasm_f32x4_add(wasm_f32x4_mul(a, b), c); }
NUTSHELL_INLINE V relaxed_nmadd(V a, V b, V c) { return wasm_f32x4_sub(c, wasm_f32x4_mul(a, b)); }
#endif
#endif
#endif

// a * b + c, fused in the relaxed forms only, so that strict results are the same in every build.
template <Dot kDot>
NUTSHELL_INLINE V multiply_add(V a, V b, V c) {
#if NUTSHELL_RELAXED
  if constexpr (kDot != Dot::strict) return relaxed_madd(a, b, c);
#endif
  return wasm_f32x4_add(wasm_f32x4_mul(a, b), c);
}

// a * b + c and c - a * b, fused where the flavour may.
NUTSHELL_INLINE V madd(V a, V b, V c) {
#if NUTSHELL_RELAXED
  return relaxed_madd(a, b, c);
#else
  return wasm_f32x4_add(wasm_f32x4_mul(a, b), c);
#endif
}
NUTSHELL_INLINE V nmadd(V a, V b, V c) {
#if NUTSHELL_RELAXED
  return relaxed_nmadd(a, b, c);
#else
  return wasm_f32x4_sub(c, wasm_f32x4_mul(a, b));
#endif
}

// Four u8 at p as i32 lanes.
NUTSHELL_INLINE V load_u8x4(const uint8_t* p) {
  return wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(wasm_v128_load32_zero(p)));
}

// Four f16 at p as f32 times 2^-112 (exponent not re-biased; the caller folds 2^112 in a later factor).
// Exact, f16 subnormals included (they become f32 subnormals, which are slow: packers scale them away). mask
// is f16_mask(). Infinities and NaN become large finite numbers: packers refuse them.
NUTSHELL_INLINE V f16_mask() { return opaque(wasm_i32x4_splat(static_cast<int32_t>(0x8fffe000u))); }
NUTSHELL_INLINE V load_f16_raw(const void* p, V mask) {
  return wasm_v128_and(wasm_i32x4_shl(wasm_i32x4_load16x4(p), 13), mask);
}

// Sum and maximum over the four lanes.
NUTSHELL_INLINE float sum_lanes(V v) {
  v = wasm_f32x4_add(v, wasm_i32x4_shuffle(v, v, 2, 3, 0, 1));
  v = wasm_f32x4_add(v, wasm_i32x4_shuffle(v, v, 1, 0, 3, 2));
  return wasm_f32x4_extract_lane(v, 0);
}
NUTSHELL_INLINE float max_lanes(V v) {
  v = wasm_f32x4_pmax(v, wasm_i32x4_shuffle(v, v, 2, 3, 0, 1));
  v = wasm_f32x4_pmax(v, wasm_i32x4_shuffle(v, v, 1, 0, 3, 2));
  return wasm_f32x4_extract_lane(v, 0);
}

// e^x, relative error below 4e-7 (2^-21.2): x = n ln2 + r with |r| <= 0.3466 in two-part ln2, degree-6 Cephes
// polynomial (its own error 2e-7; rounding of the last steps the rest). x is clamped to [-87.3, 88.3]:
// results stay normal and finite; x = -infinity gives 1.2e-38.
NUTSHELL_INLINE V exp_f32x4(V x) {
  x = wasm_f32x4_pmax(splat_f32(-87.3f), wasm_f32x4_pmin(splat_f32(88.3f), x));
  const V round = splat_f32(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const V z = madd(x, splat_f32(1.44269504088896341f), round);
  const V n = wasm_f32x4_sub(z, round);
  V r = nmadd(n, splat_f32(0.693359375f), x);
  r = nmadd(n, splat_f32(-2.12194440e-4f), r);
  V p = splat_f32(1.9875691500e-4f);
  p = madd(p, r, splat_f32(1.3981999507e-3f));
  p = madd(p, r, splat_f32(8.3334519073e-3f));
  p = madd(p, r, splat_f32(4.1665795894e-2f));
  p = madd(p, r, splat_f32(1.6666665459e-1f));
  p = madd(p, r, splat_f32(5.0000001201e-1f));
  p = madd(p, wasm_f32x4_mul(r, r), r);
  p = wasm_f32x4_add(p, splat_f32(1.0f));
  return wasm_i32x4_add(p,
                        wasm_i32x4_shl(wasm_i32x4_sub(z, round), 23));  // times 2^n: n sits in z's low bits
}

}  // namespace nutshell
