// The layout in which the integer kernels read weights: one for decode and prefill, strict and relaxed. L2.
//
// A matrix is cut into superrows of 16 rows (the last one padded with zero rows). A superrow holds, for its
// K slices of 32 columns, what 16 rows need there, so that one activation load serves 16 rows and no
// horizontal sums remain (measured best of R = 4, 8, 16, 24 rows; bf16 scales were too coarse, f32 too big):
//
//   superrow:  f32 factor, 12 bytes padding | super-blocks, each of kBlocksPerSuper slices
//   super-block: head: f16 d[16] (d and minimum formats: then f16 m[16]) | slices
//   slice:     scales (K-quants only) | codes: kWords x 16 rows x 4 bytes
//
// codes: a row's slice is kWords 32-bit words; word w of row r lies at 64 w + 4 r, so a 16-byte vector holds
// one word of 4 rows. With chunk c (0..7) = columns 4c..4c+3 and i = byte in the word:
//   4 bits  word j (0..3): low nibble = chunk j, high nibble = chunk 4 + j (column 4j+i and 16+4j+i)
//   5 bits  as 4, and word 4: bit c of byte i = fifth bit of column 4c+i
//   6 bits  as 4, and word 4 (chunks 0..3), 5 (chunks 4..7): bits 2(c%4), 2(c%4)+1 = upper two bits
//   8 bits  word c = chunk c, signed
// scales: Q4_K, Q5_K: u8 scale[16], u8 minimum[16]; Q6_K: i8 scale[16][2] (two halves of the slice per row).
//
// The f16 of a superrow are scaled up by the power of two that brings the largest to the top of the range:
// exact, and it lifts subnormal scales (usual in K-quants), which are slow in f32 lanes, out of the
// subnormals. factor undoes it: it is 2^(kPostShift - shift). Sizes against the file: Q4_0 Q4_1 Q5_0 Q8_0
// Q6_K the same, Q4_K +2.8 %, Q5_K +2.3 % (8-bit instead of 6-bit scales), plus 16 bytes per superrow.
#pragma once

#include "quant/format.h"

namespace nutshell {

inline constexpr int kSuperrow = 16;     // rows
inline constexpr int kSlice = 32;        // columns
inline constexpr int kFactorBytes = 16;  // at the start of a superrow
// Raw f16 lanes are 2^-112 of their value (simd.h); activations carry 2^80 of it, factor the other 2^32, so
// that no intermediate overflows or vanishes.
inline constexpr float kActScale = 0x1p80f;
inline constexpr int kPostShift = 32;

enum class ScaleKind : uint8_t {
  d,      // value = d (code - kZero)
  d_min,  // value = d code + m
  k_min,  // value = d scale code - m minimum
  k_16,   // value = d scale[half] (code - kZero)
};

template <DType>
struct Packed {
  static constexpr bool kExists = false;
};

template <int bits, ScaleKind kind, int zero>
struct PackedBase {
  static constexpr bool kExists = true;
  static constexpr int kBits = bits, kZero = zero;
  static constexpr ScaleKind kKind = kind;
  static constexpr bool kIsK = kind == ScaleKind::k_min || kind == ScaleKind::k_16;
  static constexpr bool kHasMin = kind == ScaleKind::d_min || kind == ScaleKind::k_min;
  static constexpr int kHalves = kind == ScaleKind::k_16 ? 2 : 1;  // scales per slice
  static constexpr int kBlocksPerSuper = kIsK ? 8 : 1;
  static constexpr int kHeadBytes = kHasMin ? 64 : 32;
  static constexpr int kScaleBytes = kIsK ? 32 : 0;
  static constexpr int kWords = bits;
  static constexpr int kSliceBytes = kScaleBytes + kWords * 64;
  static constexpr int kSuperBytes = kHeadBytes + kBlocksPerSuper * kSliceBytes;
  static constexpr int kSuperColumns = kBlocksPerSuper * kSlice;
  static constexpr int64_t superrow_bytes(int64_t n_cols) {
    return kFactorBytes + n_cols / kSuperColumns * kSuperBytes;
  }
};

// The trellis formats are stored in the kernels' layout already (quant/trellis.h). To the tile of the prefill
// path, which sees them decoded, they are codes of 5 or 6 bits with an offset.
template <int K>
struct PackedTrellis : PackedBase<K == 2 ? 5 : 6, ScaleKind::d_min, 0> {
  static constexpr int kTrellisBits = K;
};

template <>
struct Packed<DType::q4_0> : PackedBase<4, ScaleKind::d, 8> {};
template <>
struct Packed<DType::q4_1> : PackedBase<4, ScaleKind::d_min, 0> {};
template <>
struct Packed<DType::q5_0> : PackedBase<5, ScaleKind::d, 16> {};
template <>
struct Packed<DType::q8_0> : PackedBase<8, ScaleKind::d, 0> {};
template <>
struct Packed<DType::q4_k> : PackedBase<4, ScaleKind::k_min, 0> {};
template <>
struct Packed<DType::q5_k> : PackedBase<5, ScaleKind::k_min, 0> {};
template <>
struct Packed<DType::q6_k> : PackedBase<6, ScaleKind::k_16, 32> {};

// Calls fn(Format<D>{}) for a packed dtype and answers true; false for the others.
template <typename Fn>
bool visit_packed(DType dtype, Fn&& fn) {
  if (is_trellis(dtype)) return false;
  return visit(dtype, [&]<DType D>(Format<D> f) {
    if constexpr (Packed<D>::kExists) {
      fn(f);
      return true;
    } else {
      return false;
    }
  });
}
inline bool has_packed(DType dtype) {  // of the block formats
  return visit_packed(dtype, [](auto) {});
}

}  // namespace nutshell
