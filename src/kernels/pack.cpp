// A row's slice of 32 codes travels as kWords 32-bit words (packed.h). split() makes them of the file's
// block, join() is its inverse. Four rows are packed at once: their words are transposed in registers.
// Loading a model is mostly this.
#include "kernels/pack.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstring>

#include "base/bytes.h"
#include "kernels/simd.h"
#include "quant/trellis.h"

namespace nutshell {
namespace {

using Words = uint32_t[8];
constexpr uint32_t kLow = 0x0f0f0f0fu;

uint32_t get32(const uint8_t* p) { return load_le<uint32_t>(p); }
void put32(uint8_t* p, uint32_t v) { std::memcpy(p, &v, 4); }

// Words 0..3, the vector, and what more a format has.
struct Split {
  V first;
  uint32_t rest[4];
};

// The file's block is read where it lies: it may not be aligned, and a copy would cost as much as all the
// rest in code that the browser has not optimised yet.
//
// Q4_0, Q4_1, Q5_0: the file's bytes are the nibble words already.
template <typename B>
NUTSHELL_INLINE void split(const uint8_t* block, int, Split& w) requires(sizeof(B::qs) == 16) {
  w.first = load(block + offsetof(B, qs));
  if constexpr (requires { &B::qh; }) {  // bit k = 4c+i of qh -> bit c of byte i
    const uint32_t qh = get32(block + offsetof(B, qh));
    w.rest[0] = 0;
    for (int k = 0; k < 32; ++k) w.rest[0] |= (qh >> k & 1u) << (k % 4 * 8 + k / 4);
  }
}
template <typename B>
void join(B& block, int, const Words w) requires(sizeof(B::qs) == 16) {
  for (int j = 0; j < 4; ++j) put32(block.qs + 4 * j, w[j]);
  if constexpr (requires { block.qh; }) {
    uint32_t qh = 0;
    for (int k = 0; k < 32; ++k) qh |= (w[4] >> (k % 4 * 8 + k / 4) & 1u) << k;
    put32(block.qh, qh);
  }
}

template <typename B>
NUTSHELL_INLINE void split(const uint8_t* block, int, Split& w) requires(std::same_as<B, Q8_0::Block>) {
  w.first = load(block + offsetof(B, qs));
  std::memcpy(w.rest, block + offsetof(B, qs) + 16, 16);
}
void join(Q8_0::Block& block, int, const Words w) { std::memcpy(block.qs, w, 32); }

// Low (which 0) or high nibbles of two vectors, the second's moved up.
NUTSHELL_INLINE V nibbles(V low, V high, int which) {
  const V mask = wasm_i8x16_splat(15);
  if (which == 0) return wasm_v128_or(wasm_v128_and(low, mask), wasm_i16x8_shl(wasm_v128_and(high, mask), 4));
  return wasm_v128_or(wasm_v128_and(wasm_u16x8_shr(low, 4), mask), wasm_v128_andnot(high, mask));
}

// Q4_K, Q5_K: slice b = sub-block b: nibble b % 2 of qs[32 (b / 2) ..]; Q5_K: bit b of qh[0..31].
template <typename B>
NUTSHELL_INLINE void split(const uint8_t* block, int b, Split& w) requires(sizeof(B::qs) == 128) {
  const uint8_t* qs = block + offsetof(B, qs) + b / 2 * 32;
  w.first = nibbles(load(qs), load(qs + 16), b % 2);
  if constexpr (requires { &B::qh; }) {
    w.rest[0] = 0;
    for (int c = 0; c < 8; ++c) w.rest[0] |= (get32(block + offsetof(B, qh) + 4 * c) >> b & 0x01010101u) << c;
  }
}
template <typename B>
void join(B& block, int b, const Words w) requires(sizeof(B::qs) == 128) {
  uint8_t* qs = block.qs + b / 2 * 32;
  const int shift = b % 2 * 4;
  for (int j = 0; j < 4; ++j) {
    put32(qs + 4 * j, (get32(qs + 4 * j) & ~(kLow << shift)) | (w[j] & kLow) << shift);
    put32(qs + 16 + 4 * j, (get32(qs + 16 + 4 * j) & ~(kLow << shift)) | (w[j] >> 4 & kLow) << shift);
  }
  if constexpr (requires { block.qh; }) {
    for (int c = 0; c < 8; ++c) {
      uint8_t* qh = block.qh + 4 * c;
      put32(qh, (get32(qh) & ~(0x01010101u << b)) | (w[4] >> c & 0x01010101u) << b);
    }
  }
}

// Q6_K: slice b: low nibbles = nibble (b / 2) % 2 of ql[64 (b / 4) + 32 (b % 2) ..], upper bits =
// qh[32 (b / 4) ..] >> 2 (b % 4).
template <typename B>
NUTSHELL_INLINE void split(const uint8_t* block, int b, Split& w) requires(std::same_as<B, Q6_K::Block>) {
  const uint8_t* ql = block + offsetof(B, ql) + b / 4 * 64 + b % 2 * 32;
  const uint8_t* qh = block + offsetof(B, qh) + b / 4 * 32;
  const int high = b % 4 * 2;
  w.first = nibbles(load(ql), load(ql + 16), b / 2 % 2);
  w.rest[0] = w.rest[1] = 0;
  for (int j = 0; j < 4; ++j) {
    w.rest[0] |= (get32(qh + 4 * j) >> high & 0x03030303u) << 2 * j;
    w.rest[1] |= (get32(qh + 16 + 4 * j) >> high & 0x03030303u) << 2 * j;
  }
}
void join(Q6_K::Block& block, int b, const Words w) {
  uint8_t* ql = block.ql + b / 4 * 64 + b % 2 * 32;
  uint8_t* qh = block.qh + b / 4 * 32;
  const int shift = b / 2 % 2 * 4, high = b % 4 * 2;
  const auto put = [](uint8_t* p, uint32_t mask, uint32_t bits) { put32(p, (get32(p) & ~mask) | bits); };
  for (int j = 0; j < 4; ++j) {
    put(ql + 4 * j, kLow << shift, (w[j] & kLow) << shift);
    put(ql + 16 + 4 * j, kLow << shift, (w[j] >> 4 & kLow) << shift);
    put(qh + 4 * j, 0x03030303u << high, (w[4] >> 2 * j & 0x03030303u) << high);
    put(qh + 16 + 4 * j, 0x03030303u << high, (w[5] >> 2 * j & 0x03030303u) << high);
  }
}

// Where a block has its second f16, minimum of Q4_1, dmin of the K-quants; 0: it has none.
template <typename B>
constexpr size_t second_f16() {
  if constexpr (requires { &B::dmin; }) {
    return offsetof(B, dmin);
  } else if constexpr (requires { &B::m; }) {
    return offsetof(B, m);
  } else {
    return 0;
  }
}

template <typename B>
void get_k_scales(const uint8_t* block, int b, int r, uint8_t* scales) {
  if constexpr (requires { &B::ql; }) {
    scales[2 * r] = block[offsetof(B, scales) + 2 * static_cast<size_t>(b)];
    scales[2 * r + 1] = block[offsetof(B, scales) + 2 * static_cast<size_t>(b) + 1];
  } else if constexpr (requires { &B::dmin; }) {
    const KScale s = unpack_k_scale(block + offsetof(B, scales), b);
    scales[r] = static_cast<uint8_t>(s.scale);
    scales[16 + r] = static_cast<uint8_t>(s.minimum);
  }
}
template <typename B>
void put_k_scales(B& block, int b, int r, const uint8_t* scales) {
  if constexpr (requires { block.ql; }) {
    block.scales[2 * b] = static_cast<int8_t>(scales[2 * r]);
    block.scales[2 * b + 1] = static_cast<int8_t>(scales[2 * r + 1]);
  } else if constexpr (requires { block.dmin; }) {
    const int scale = scales[r], minimum = scales[16 + r];
    uint8_t* p = block.scales;
    if (b < 4) {
      p[b] = static_cast<uint8_t>((p[b] & 0xc0) | scale);
      p[b + 4] = static_cast<uint8_t>((p[b + 4] & 0xc0) | minimum);
    } else {
      p[b + 4] = static_cast<uint8_t>((scale & 15) | (minimum & 15) << 4);
      p[b - 4] = static_cast<uint8_t>((p[b - 4] & 0x3f) | scale >> 4 << 6);
      p[b] = static_cast<uint8_t>((p[b] & 0x3f) | minimum >> 4 << 6);
    }
  }
}

bool finite_f16(uint16_t h) { return (h & 0x7c00) != 0x7c00; }
uint16_t scale_f16(uint16_t h, float by) { return f32_to_f16(f16_to_f32(h) * by); }
// h * 2^shift, shift >= 0, which fits.
uint16_t shift_f16(uint16_t h, int shift) {
  if ((h & 0x7c00) != 0) return static_cast<uint16_t>(h + (shift << 10));
  return (h & 0x3ff) == 0 ? h : scale_f16(h, std::ldexp(1.0f, shift));
}

// Stores four vectors as columns: out + 64 w gets word w of each.
NUTSHELL_INLINE void store_transposed(const V (&v)[4], uint8_t* out) {
  const V a = wasm_i32x4_shuffle(v[0], v[1], 0, 4, 1, 5), b = wasm_i32x4_shuffle(v[0], v[1], 2, 6, 3, 7);
  const V c = wasm_i32x4_shuffle(v[2], v[3], 0, 4, 1, 5), d = wasm_i32x4_shuffle(v[2], v[3], 2, 6, 3, 7);
  wasm_v128_store(out, wasm_i64x2_shuffle(a, c, 0, 2));
  wasm_v128_store(out + 64, wasm_i64x2_shuffle(a, c, 1, 3));
  wasm_v128_store(out + 128, wasm_i64x2_shuffle(b, d, 0, 2));
  wasm_v128_store(out + 192, wasm_i64x2_shuffle(b, d, 1, 3));
}

// Largest f16 magnitude (as bits, which order like magnitudes) among the scales; 0x7c00 or more: not finite.
template <typename B>
uint16_t largest_f16(const uint8_t* rows, int64_t n_blocks) {
  const V magnitude = wasm_i16x8_splat(0x7fff);
  V largest = wasm_i16x8_splat(0);
  for (int64_t i = 0; i < n_blocks; ++i, rows += sizeof(B)) {
    const V d = wasm_v128_load16_splat(rows + offsetof(B, d));
    largest = wasm_u16x8_max(largest, wasm_v128_and(d, magnitude));
    if constexpr (second_f16<B>() != 0) {
      const V m = wasm_v128_load16_splat(rows + second_f16<B>());
      largest = wasm_u16x8_max(largest, wasm_v128_and(m, magnitude));
    }
  }
  return static_cast<uint16_t>(wasm_u16x8_extract_lane(largest, 0));
}

// The f16 that each of the rows has at `rows`, times 2^shift.
NUTSHELL_INLINE void pack_f16(const uint8_t* rows, int64_t row_bytes, int n_rows, int shift, uint8_t* out) {
  alignas(16) uint16_t h[kSuperrow] = {};
  for (int r = 0; r < n_rows; ++r) h[r] = load_le<uint16_t>(rows + r * row_bytes);
  const V up = wasm_i16x8_splat(static_cast<int16_t>(shift << 10)), zero = wasm_i16x8_splat(0);
  for (int r = 0; r < kSuperrow; r += 8) {
    const V v = load(h + r);
    const V normal = wasm_i16x8_ne(wasm_v128_and(v, wasm_i16x8_splat(0x7c00)), zero);
    const V nonzero = wasm_i16x8_ne(wasm_v128_and(v, wasm_i16x8_splat(0x7fff)), zero);
    wasm_v128_store(out + 2 * r, wasm_i16x8_add(v, wasm_v128_and(normal, up)));
    if (!wasm_v128_any_true(wasm_v128_andnot(nonzero, normal))) continue;
    for (int i = r; i < r + 8; ++i) {  // subnormal ones are rare
      const uint16_t shifted = shift_f16(h[i], shift);
      std::memcpy(out + 2 * i, &shifted, 2);
    }
  }
}

// The codes of rows 4 g .. of a super-block; rows that are missing are zero already.
template <DType D>
NUTSHELL_INLINE void pack_group(const uint8_t* rows, int64_t row_bytes, int n, int g, uint8_t* super) {
  using P = Packed<D>;
  using B = typename Format<D>::Block;
  for (int b = 0; b < P::kBlocksPerSuper; ++b) {
    uint8_t* slice = super + P::kHeadBytes + b * P::kSliceBytes;
    uint8_t* codes = slice + P::kScaleBytes;
    V first[4];
    for (int i = 0; i < 4; ++i) {
      if (i >= n) {
        first[i] = wasm_i32x4_splat(0);
        continue;
      }
      const uint8_t* block = rows + i * row_bytes;
      const int r = 4 * g + i;
      get_k_scales<B>(block, b, r, slice);
      Split words;
      split<B>(block, b, words);
      first[i] = words.first;
      for (int w = 4; w < P::kWords; ++w) put32(codes + 64 * w + 4 * r, words.rest[w - 4]);
    }
    store_transposed(first, codes + 16 * g);
  }
}

// Not inlined: a browser's optimising compiler takes functions one by one, and one with all formats in it for
// longer than loading a small model takes.
template <DType D>
NUTSHELL_NOINLINE Status pack_rows(const uint8_t* rows, int n_rows, int64_t n_cols, uint8_t* out) {
  using P = Packed<D>;
  using B = typename Format<D>::Block;
  const int64_t n_super = n_cols / P::kSuperColumns, row_bytes = n_super * static_cast<int64_t>(sizeof(B));
  const uint16_t largest = largest_f16<B>(rows, n_super * n_rows);
  if (!finite_f16(largest)) return {ErrorCode::corrupt_file, "a weight's scale is infinite or not a number"};
  const int shift = largest == 0 ? 0 : 15 - std::ilogb(f16_to_f32(largest));
  const float factor = std::ldexp(1.0f, kPostShift - shift);
  if (n_rows < kSuperrow) std::memset(out, 0, static_cast<size_t>(P::superrow_bytes(n_cols)));
  std::memset(out, 0, kFactorBytes);
  std::memcpy(out, &factor, 4);
  for (int64_t s = 0; s < n_super; ++s) {
    const uint8_t* blocks = rows + s * static_cast<int64_t>(sizeof(B));
    uint8_t* super = out + kFactorBytes + s * P::kSuperBytes;
    pack_f16(blocks + offsetof(B, d), row_bytes, n_rows, shift, super);
    if constexpr (second_f16<B>() != 0)
      pack_f16(blocks + second_f16<B>(), row_bytes, n_rows, shift, super + 2 * kSuperrow);
    for (int g = 0; 4 * g < n_rows; ++g)
      pack_group<D>(blocks + 4 * g * row_bytes, row_bytes, std::min(4, n_rows - 4 * g), g, super);
  }
  return {};
}

template <DType D>
void unpack_one(const uint8_t* superrow, int r, int64_t n_cols, float* out) {
  using P = Packed<D>;
  const float down = std::ldexp(load_le<float>(superrow), -kPostShift);
  const uint8_t* super = superrow + kFactorBytes;
  for (int64_t c = 0; c < n_cols; c += P::kSuperColumns, super += P::kSuperBytes) {
    using B = typename Format<D>::Block;
    B block = {};
    block.d = scale_f16(load_le<uint16_t>(super + 2 * r), down);
    if constexpr (second_f16<B>() != 0) {
      const uint16_t second = scale_f16(load_le<uint16_t>(super + 32 + 2 * r), down);
      std::memcpy(reinterpret_cast<uint8_t*>(&block) + second_f16<B>(), &second, 2);
    }
    for (int b = 0; b < P::kBlocksPerSuper; ++b) {
      const uint8_t* slice = super + P::kHeadBytes + b * P::kSliceBytes;
      put_k_scales(block, b, r, slice);
      Words words;
      for (int w = 0; w < P::kWords; ++w) words[w] = get32(slice + P::kScaleBytes + 64 * w + 4 * r);
      join(block, b, words);
    }
    Format<D>::decode(block, out + c);
  }
}

}  // namespace

std::optional<uint64_t> packed_bytes(DType dtype, int64_t n_rows, int64_t n_cols) {
  std::optional<uint64_t> bytes;
  if (n_rows <= 0 || n_cols <= 0 || n_cols > int64_t{1} << 31 || n_rows > int64_t{1} << 40) return bytes;
  if (is_trellis(dtype)) {
    if (n_cols % kSlice == 0)
      bytes = checked_mul(static_cast<uint64_t>(n_rows + kSuperrow - 1) / kSuperrow,
                          static_cast<uint64_t>(trellis_superrow_bytes(dtype, n_cols)));
    return bytes;
  }
  visit_packed(dtype, [&]<DType D>(Format<D>) {
    using P = Packed<D>;
    if (n_cols % P::kSuperColumns != 0) return;
    bytes = checked_mul(static_cast<uint64_t>((n_rows + kSuperrow - 1) / kSuperrow),
                        static_cast<uint64_t>(P::superrow_bytes(n_cols)));
  });
  return bytes;
}

Status pack_superrow(DType dtype, const uint8_t* rows, int n_rows, int64_t n_cols, uint8_t* out) {
  if (is_trellis(dtype)) {
    for (int r = 0; r < kSuperrow; ++r)
      if (!finite_f16(load_le<uint16_t>(rows + 2 * r)))
        return {ErrorCode::corrupt_file, "a weight's scale is infinite or not a number"};
    std::memcpy(out, rows, static_cast<size_t>(trellis_superrow_bytes(dtype, n_cols)));
    return {};
  }
  Status status;
  visit_packed(dtype, [&]<DType D>(Format<D>) { status = pack_rows<D>(rows, n_rows, n_cols, out); });
  return status;
}

void unpack_row(DType dtype, const uint8_t* superrow, int r, int64_t n_cols, float* out) {
  visit_packed(dtype, [&]<DType D>(Format<D>) { unpack_one<D>(superrow, r, n_cols, out); });
}

}  // namespace nutshell
