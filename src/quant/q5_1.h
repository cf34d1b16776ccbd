// Q5_1: 32 values as 5-bit codes with a scale and a minimum; 6 bits per value.
//
//   byte  0 1   2 3   4 ... 7   8 ....... 23
//         d     m     qh[4]     qs[16]    d, m: f16; qs[i] = low 4 bits of value i (low), of i + 16 (high)
//                                         qh: bit i (little-endian word) = fifth bit of value i
//
//   value = d * code + m                  range [m, m + 31 d], error at most |d| / 2 inside it
#pragma once

#include "base/bytes.h"
#include "quant/block.h"

namespace nutshell {

template <>
struct Format<DType::q5_1> {
  struct Block {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
  };

  static void decode(const Block& block, float* out) {
    const float d = f16_to_f32(block.d), m = f16_to_f32(block.m);
    const auto qh = load_le<uint32_t>(block.qh);
    for (int i = 0; i < 16; ++i) {
      const int low = (block.qs[i] & 15) | static_cast<int>(qh >> i & 1) << 4;
      const int high = (block.qs[i] >> 4) | static_cast<int>(qh >> (i + 16) & 1) << 4;
      out[i] = d * static_cast<float>(low) + m;
      out[i + 16] = d * static_cast<float>(high) + m;
    }
  }
};
using Q5_1 = Format<DType::q5_1>;
static_assert(kBlockSizeMatches<DType::q5_1>);

}  // namespace nutshell
