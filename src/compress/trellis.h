// The encoder of the trellis code (quant/trellis.h): finds the bits of a row whose decoded values are nearest
// to it in a given metric. L5. A row is its four streams, one after the other: one path of n steps through 16
// states with 2^K branches (trellis-coded quantization: Marcellin and Fischer 1990; with error feedback:
// QTIP, arXiv 2406.11235).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "compress/moments.h"
#include "quant/trellis.h"

namespace nutshell::compress {

// Values decided at a time, and looked at beyond them before deciding.
inline constexpr int64_t kTrellisBlock = 64, kTrellisAhead = 16;

// Encodes rows in units of their scale.
class TrellisEncoder {
 public:
  // metric: of the columns in stream order; it must outlive the encoder. d.size(): a multiple of 32.
  TrellisEncoder(int bits, const MetricFactor& metric);

  // row: values / scale in stream order. codes: K bits per value; values: T1 + T2 - zero times step (those of
  // default_trellis()); left: (row - values) M.
  void encode(std::span<const float> row, std::span<uint8_t> codes, std::span<float> values,
              std::span<float> left);

 private:
  template <int K>
  void encode_block(const float* row, int64_t begin, int64_t end, int64_t last, int& state, uint8_t* codes,
                    float* values);
  void finish_block(const float* row, int64_t begin, int64_t end, const float* values, float* left);
  // Row j of M from column k on. A group of columns that begins in the block before is never read before j
  // - 7.
  const float* feedback(int64_t j, int64_t k) const {
    const Matrix& m = metric_.m[static_cast<size_t>(j / metric_.block)];
    const int64_t first = j / metric_.block * metric_.block;
    return m.data() + (j - first) * m.cols() + k - first;
  }
  const int bits_;
  const DefaultTrellis& tables_;
  const MetricFactor& metric_;
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
