// MXFP4: 32 values as 4-bit floats (E2M1) with one power of two; 4.25 bits per value. Sources: OCP
// Microscaling Formats v1.0 for E2M1 and E8M0; ggml for the order of the nibbles and for e = 255, which is
// 2^128 here, not NaN.
//
//   byte  0   1 ....... 16
//         e   qs[16]          e: E8M0 exponent; qs[i] = code of value i (low nibble), of value i + 16 (high)
//
//   value = 2^(e - 127) * E2M1(code), computed as half of that scale times the doubled level (an integer);
//   levels 0 0.5 1 1.5 2 3 4 6 and their negatives (code 8 is +0 here)
#pragma once

#include <bit>

#include "quant/block.h"

namespace nutshell {

// E2M1 values, doubled.
inline constexpr int8_t kMxfp4Levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// 2^(e - 128), subnormal for e = 0 and 1.
inline float mxfp4_half_scale(uint8_t e) {
  const uint32_t bits = e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23;
  return std::bit_cast<float>(bits);
}

template <>
struct Format<DType::mxfp4> {
  struct Block {
    uint8_t e;
    uint8_t qs[16];
  };

  static void decode(const Block& block, float* out) {
    const float d = mxfp4_half_scale(block.e);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(kMxfp4Levels[block.qs[i] & 15]);
      out[i + 16] = d * static_cast<float>(kMxfp4Levels[block.qs[i] >> 4]);
    }
  }
};
using MXFP4 = Format<DType::mxfp4>;
static_assert(kBlockSizeMatches<DType::mxfp4>);

}  // namespace nutshell
