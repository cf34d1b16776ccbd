// Random rows of any number format: random codes under scales that make the values about `magnitude`.
#pragma once

#include <cstring>
#include <vector>

#include "base/rng.h"
#include "quant/format.h"

namespace nutshell::test {

inline std::vector<uint8_t> random_rows(DType dtype, int64_t n_rows, int64_t n_cols, uint64_t seed,
                                        double magnitude) {
  const DTypeInfo& info = info_of(dtype);
  std::vector<uint8_t> bytes(static_cast<size_t>(n_rows * row_bytes(dtype, n_cols)));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(counter_rng(seed, i));
  if (is_trellis(dtype)) {  // whole superrows
    const int64_t one = kTrellisRows * row_bytes(dtype, n_cols);
    for (int64_t r = 0; r < n_rows; ++r) {
      const uint16_t d =
          f32_to_f16(static_cast<float>(0.02 * magnitude) * uniform_pm1(seed + 1, static_cast<uint64_t>(r)));
      std::memcpy(bytes.data() + r / kTrellisRows * one + 2 * (r % kTrellisRows), &d, 2);
    }
    return bytes;
  }
  const auto n_blocks = static_cast<size_t>(n_rows * n_cols / info.block_length);
  for (size_t b = 0; b < n_blocks; ++b) {
    uint8_t* block = bytes.data() + b * static_cast<size_t>(info.block_bytes);
    const double r = static_cast<double>(uniform_pm1(seed + 1, b));
    const auto put = [&](size_t at, double value) {
      const uint16_t h = f32_to_f16(static_cast<float>(value * magnitude));
      std::memcpy(block + at, &h, 2);
    };
    const bool k = info.block_length == 256;
    switch (dtype) {
      case DType::f32: {
        const float f = static_cast<float>(r * magnitude);
        std::memcpy(block, &f, 4);
        break;
      }
      case DType::f16:
        put(0, r);
        break;
      case DType::bf16: {
        const uint16_t h = f32_to_bf16(static_cast<float>(r * magnitude));
        std::memcpy(block, &h, 2);
        break;
      }
      case DType::mxfp4:
        block[0] = static_cast<uint8_t>(120 + b % 8);
        break;
      case DType::q4_1:
      case DType::q5_1:
        put(0, 0.1 * r);
        put(2, -r);
        break;
      case DType::q4_k:
      case DType::q5_k:
        put(0, 0.002 * r);
        put(2, 0.01 * r);
        break;
      case DType::q2_k:
        put(80, 0.02 * r);
        put(82, 0.02 * r);
        break;
      case DType::q3_k:
        put(108, 0.01 * r);
        break;
      case DType::q6_k:
        put(208, 0.0005 * r);
        break;
      default:
        put(0, k ? 0.001 * r : 0.1 * r);
        break;
    }
  }
  return bytes;
}

}  // namespace nutshell::test
