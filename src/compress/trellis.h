// The encoder of the trellis code (quant/trellis.h): finds the bits of a row whose decoded values are nearest
// to it in a given metric. L5. A row is its four streams, one after the other: one path of n steps through 16
// states with 2^K branches (trellis-coded quantization: Marcellin and Fischer 1990; with error feedback:
// QTIP, arXiv 2406.11235).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "compress/matrix.h"
#include "quant/trellis.h"

namespace nutshell::compress {

// Encodes rows in units of their scale.
class TrellisEncoder {
 public:
  // feedback: unit upper triangular M, weight: D of the metric H = M D M^T, both in stream order (all of
  // stream 0, then 1, ...). No values of M: the identity. n: a multiple of 32. Both must outlive the encoder.
  TrellisEncoder(int bits, const Matrix& feedback, std::span<const float> weight);

  // row: values / scale in stream order. codes: K bits per value; values: T1 + T2 - zero times step (those of
  // default_trellis()).
  void encode(std::span<const float> row, std::span<uint8_t> codes, std::span<float> values);

 private:
  template <int K>
  void encode_block(const float* row, int64_t begin, int64_t end, int64_t last, int& state, uint8_t* codes,
                    float* values);
  const int bits_;
  const DefaultTrellis& tables_;
  const Matrix& feedback_;
  std::span<const float> weight_;
  std::vector<float> targets_, survivors_, other_;
  std::vector<std::array<uint8_t, 16>> from_;
};

// Stream order: position i * n / 4 + t holds column 4 t + i.
void to_streams(std::span<const float> columns, std::span<float> streams);

// Bytes of 16 rows (codes in stream order, 16 * n of them) and their f16 scales: superrow layout of the NT
// formats.
void pack_superrow(int bits, int64_t n, std::span<const uint16_t> scales, std::span<const uint8_t> codes,
                   std::vector<uint8_t>& out);

}  // namespace nutshell::compress
