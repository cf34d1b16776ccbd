#include "kernels/quantize.h"

#include <cstring>

#include "kernels/packed.h"
#include "kernels/simd.h"

namespace nutshell {
namespace {

constexpr size_t kRowBytesPerSlice = 32 * (1 + 2 + 2 + 1 + 1) + 4 + 4 + 8;

size_t align16(size_t n) { return (n + 15) & ~size_t{15}; }

// 32 codes of one slice as four int16x8 and the scale.
struct Slice {
  V h[4];
  float d;
};

NUTSHELL_INLINE Slice quantize_slice(const float* x) {
  V v[8], largest = splat_f32(0);
  for (int i = 0; i < 8; ++i) {
    v[i] = load(x + 4 * i);
    largest = wasm_f32x4_pmax(largest, wasm_f32x4_abs(v[i]));
  }
  const float amax = max_lanes(largest);
  // Too small for a finite inverse (amax < 2^-120): zeros, an error below 2^-120.
  const float inverse = amax > 0x1p-120f ? 127.0f / amax : 0.0f;
  const V by = splat_f32(inverse), round = splat_f32(12582912.0f), bits = wasm_i32x4_splat(0x4B400000);
  V n[8];
  for (int i = 0; i < 8; ++i)  // adding 1.5 * 2^23 rounds to nearest even; the integer is in the low bits
    n[i] = wasm_i32x4_sub(wasm_f32x4_add(wasm_f32x4_mul(v[i], by), round), bits);
  Slice slice;
  for (int i = 0; i < 4; ++i) slice.h[i] = wasm_i16x8_narrow_i32x4(n[2 * i], n[2 * i + 1]);
  slice.d = inverse > 0 ? amax / 127.0f : 0.0f;
  // Rounding of 127 / amax and of the product can give 127.00001, never 127.5: |code| <= 127. Infinite or NaN
  // input gives codes outside; clamp so that no kernel's sum overflows on it.
  const V high = wasm_i16x8_splat(127), low = wasm_i16x8_splat(-127);
  for (V& h : slice.h) h = wasm_i16x8_max(wasm_i16x8_min(h, high), low);
  return slice;
}

// Sum of the 16 int16 in a and b.
NUTSHELL_INLINE int32_t sum16(V a, V b) {
  V s = wasm_i32x4_dot_i16x8(wasm_i16x8_add(a, b), wasm_i16x8_splat(1));
  s = wasm_i32x4_add(s, wasm_i32x4_shuffle(s, s, 2, 3, 0, 1));
  s = wasm_i32x4_add(s, wasm_i32x4_shuffle(s, s, 1, 0, 3, 2));
  return wasm_i32x4_extract_lane(s, 0);
}

NUTSHELL_INLINE void store_slice(const Slice& q, int64_t b, int forms, const ActRow& out) {
  const V low = wasm_i8x16_narrow_i16x8(q.h[0], q.h[1]), high = wasm_i8x16_narrow_i16x8(q.h[2], q.h[3]);
  if (forms & kActBytes) {
    wasm_v128_store(out.bytes + 32 * b, low);
    wasm_v128_store(out.bytes + 32 * b + 16, high);
  }
  if (forms & kActPlanes) {
    const V m = wasm_i8x16_splat(127);
    wasm_v128_store(out.low + 32 * b, wasm_v128_and(low, m));
    wasm_v128_store(out.low + 32 * b + 16, wasm_v128_and(high, m));
    wasm_v128_store(out.sign + 32 * b, wasm_u8x16_shr(low, 7));
    wasm_v128_store(out.sign + 32 * b + 16, wasm_u8x16_shr(high, 7));
  }
  for (int i = 0; i < 4; ++i) {
    if (forms & kActWords)
      wasm_v128_store(out.words + 32 * b + 8 * i, wasm_i16x8_shuffle(q.h[i], q.h[i], 0, 2, 1, 3, 4, 6, 5, 7));
    if (forms & kActPlain) wasm_v128_store(out.plain + 32 * b + 8 * i, q.h[i]);
  }
}

}  // namespace

size_t ActRow::bytes_needed(int64_t n_cols) {
  return align16(static_cast<size_t>(n_cols / 32) * kRowBytesPerSlice) + 8 * 16;
}

ActRow ActRow::at(void* memory, int64_t n_cols) {
  auto* p = static_cast<uint8_t*>(memory);
  const auto take = [&p](size_t bytes) { return (p += align16(bytes)) - align16(bytes); };
  const auto n = static_cast<size_t>(n_cols);
  ActRow row;
  row.bytes = reinterpret_cast<int8_t*>(take(n));
  row.words = reinterpret_cast<int16_t*>(take(2 * n));
  row.plain = reinterpret_cast<int16_t*>(take(2 * n));
  row.low = take(n);
  row.sign = take(n);
  row.d = reinterpret_cast<float*>(take(n / 32 * 4));
  row.s = reinterpret_cast<float*>(take(n / 32 * 4));
  row.sums = reinterpret_cast<int32_t*>(take(n / 32 * 8));
  return row;
}

NUTSHELL_NOINLINE void quantize_row(const float* x, int64_t n_cols, int forms, const ActRow& out) {
  for (int64_t b = 0; b < n_cols / kSlice; ++b) {
    const Slice q = quantize_slice(x + b * kSlice);
    store_slice(q, b, forms, out);
    out.sums[2 * b] = sum16(q.h[0], q.h[1]);
    out.sums[2 * b + 1] = sum16(q.h[2], q.h[3]);
    out.d[b] = q.d * kActScale;
    out.s[b] = q.d * kActScale * static_cast<float>(out.sums[2 * b] + out.sums[2 * b + 1]);
  }
}

size_t ActTiles::bytes_needed(int64_t n_cols, int64_t n_tokens) {
  const auto n = static_cast<size_t>(n_cols) * static_cast<size_t>((n_tokens + 3) / 4 * 4);
  return n * 3 + n / 32 * 12 + 4 * 16;
}

ActTiles ActTiles::at(void* memory, int64_t n_cols, int64_t n_tokens) {
  auto* p = static_cast<uint8_t*>(memory);
  const auto take = [&p](size_t bytes) { return (p += align16(bytes)) - align16(bytes); };
  const auto n = static_cast<size_t>(n_cols) * static_cast<size_t>((n_tokens + 3) / 4 * 4);
  ActTiles tiles;
  tiles.n_cols = n_cols;
  tiles.bytes = reinterpret_cast<int8_t*>(take(n));
  tiles.words = reinterpret_cast<int16_t*>(take(2 * n));
  tiles.d = reinterpret_cast<float*>(take(n / 32 * 4));
  tiles.s = reinterpret_cast<float*>(take(n / 32 * 8));
  return tiles;
}

NUTSHELL_NOINLINE void quantize_to_tiles(const float* x, int64_t t, int forms, const ActRow& row,
                                         const ActTiles& tiles) {
  const int64_t n_slices = tiles.n_cols / kSlice, lane = t % kTileTokens;
  for (int64_t b = 0; b < n_slices; ++b) {
    const Slice q = quantize_slice(x + b * kSlice);
    store_slice(q, 0, forms, row);
    const int64_t slice = t / kTileTokens * n_slices + b;
    if (forms & kActBytes) {
      auto* to = tiles.bytes + slice * 128 + lane * 4;
      for (int c = 0; c < 8; ++c) std::memcpy(to + c * 16, row.bytes + 4 * c, 4);
    }
    if (forms & kActWords) {
      auto* to = tiles.words + slice * 128 + lane * 2;
      for (int c = 0; c < 16; ++c) std::memcpy(to + c * 8, row.words + 2 * c, 4);
    }
    tiles.d[slice * 4 + lane] = q.d;
    tiles.s[slice * 8 + lane] = q.d * static_cast<float>(sum16(q.h[0], q.h[1]));
    tiles.s[slice * 8 + 4 + lane] = q.d * static_cast<float>(sum16(q.h[2], q.h[3]));
  }
}

void clear_in_tiles(int64_t t, const ActTiles& tiles) {
  const int64_t n_slices = tiles.n_cols / kSlice, lane = t % kTileTokens;
  for (int64_t b = 0; b < n_slices; ++b) {
    const int64_t slice = t / kTileTokens * n_slices + b;
    for (int c = 0; c < 8; ++c) std::memset(tiles.bytes + slice * 128 + lane * 4 + c * 16, 0, 4);
    for (int c = 0; c < 16; ++c) std::memset(tiles.words + slice * 128 + lane * 2 + c * 8, 0, 4);
    tiles.d[slice * 4 + lane] = 0;
    tiles.s[slice * 8 + lane] = tiles.s[slice * 8 + 4 + lane] = 0;
  }
}

}  // namespace nutshell
