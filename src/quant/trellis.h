// NT2, NT3, NT4: the trellis formats, K = 2, 3 or 4 bits per weight and one f16 scale per row. L1.
//
// A weight is the sum of two table entries that sliding windows of a bit stream choose (trellis-coded
// quantisation; the idea of tables small enough for one byte shuffle after QTIP, Tseng et al. 2024):
//
//   value(r, c) = scale * d_r * (T1[M_{t-1}] + T2[M_t] - zero)
//
// scale, T1, T2, zero and start are the tensor's (tensor/trellis.h), d_r is the row's f16. A row is four
// streams: stream i holds columns c = 4 t + i, t = 0, 1, ... Step t of a stream brings K new bits; M_t is the
// last four bits then, the oldest in the lowest place: M_t = (M_{t-1} | new << 4) >> K. M_{-1} is start for
// stream 0 and the last window of stream i - 1 for stream i: to an encoder a row is one sequence of n_cols
// steps through 16 states. (Four constant starts cost 1.6, 4 and 9 % of the squared error of 576 columns.)
//
// Rows are stored 16 together, the last group padded with rows of scale 0. A superrow:
//
//   f16 d[16] | slices of 32 columns, each K planes of 64 bytes
//   plane p, byte 16 g + 4 r + i: bits 8 p .. 8 p + 7 of the slice's 8 K bits (8 steps) of stream i of row
//   4 g + r, the first bit in the lowest place
//
// This is the layout of the kernels as well: a 16-byte vector is four streams of four rows, a step of it is
// four columns of four rows, and one byte shuffle per table decodes it. A weight takes exactly K bits, a row
// 2 bytes more. Sums of table entries stay in 0..31 (NT2) or 0..63: that is what lets the kernels add several
// products in int16; it costs less than 2 % of the squared error.
//
// Squared error on unit Gaussian weights with the default tables and no feedback, long rows / 576 columns:
// NT2 .0850 / .0854, NT3 .0233 / .0235, NT4 .0072 / .0072 (the bound is 4^-K: .0625, .0156, .0039).
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

#include "tensor/dtype.h"
#include "tensor/trellis.h"

namespace nutshell {

constexpr int kMinTrellisBits = 2, kMaxTrellisBits = 4;
constexpr DType trellis_type(int bits) { return kTrellisTypes[bits - kMinTrellisBits].dtype; }
constexpr int trellis_bits(DType dtype) { return static_cast<int>(info_of(dtype).block_bytes / 4); }
// Largest sum of table entries.
constexpr int trellis_max(DType dtype) { return trellis_bits(dtype) == 2 ? 31 : 63; }
constexpr int64_t kTrellisHeadBytes = 2 * kTrellisRows;
constexpr int64_t trellis_superrow_bytes(DType dtype, int64_t n_cols) {
  return kTrellisRows * row_bytes(dtype, n_cols);
}

// Calls fn(std::integral_constant<int, K>{}). Precondition: is_trellis(dtype).
template <typename Fn>
decltype(auto) visit_trellis(DType dtype, Fn&& fn) {
  switch (trellis_bits(dtype)) {
    case 2:
      return fn(std::integral_constant<int, 2>{});
    case 3:
      return fn(std::integral_constant<int, 3>{});
    default:
      return fn(std::integral_constant<int, 4>{});
  }
}

// Tables for weights of unit variance under a row scale of `step`, and their squared error on rows of 576.
struct DefaultTrellis {
  TrellisCode code;
  float step, error;
};
const DefaultTrellis& default_trellis(DType dtype);

// Whether a code's entries, zero point, start and scale are within what the kernels assume.
bool valid_trellis(DType dtype, const TrellisCode& code);

// The K new bits of column c in row r (0..15) of a superrow.
int get_symbol(DType dtype, const uint8_t* superrow, int r, int64_t c);
// Writes them into zeroed bytes.
void put_symbol(DType dtype, uint8_t* superrow, int r, int64_t c, int symbol);

// scale * d_r of row r (0..15) of a superrow.
float trellis_row_scale(const TrellisCode& code, const uint8_t* superrow, int r);

// Values of row r (0..15) of a superrow, in f32 as written above: (scale * d_r) * integer.
void decode_trellis_row(DType dtype, const TrellisCode& code, const uint8_t* superrow, int r, int64_t n_cols,
                        float* out);

// The nearest code of one row without error feedback: exact Viterbi search per stream under the row scale
// root-mean-square * step, rounded to f16. Writes into a zeroed superrow. For tests and as a baseline; the
// compressor has its own.
void encode_trellis_row(DType dtype, const TrellisCode& code, float step, std::span<const float> row, int r,
                        uint8_t* superrow);

}  // namespace nutshell
