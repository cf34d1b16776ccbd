// Q2_K: 256 values as 2-bit codes; 16 sub-blocks of 16 with a 4-bit scale and a 4-bit minimum each, which are
// multiples of two scales of the block; 2.625 bits per value.
//
//   byte  0 ....... 15   16 ...... 79   80 81   82 83
//         scales[16]     qs[64]         d       dmin     d, dmin: f16
//
//   scales[j]: low nibble = scale of sub-block j, high nibble = its minimum
//   value v (0..255): code = qs[32 (v / 128) + v % 32] >> 2 ((v / 32) % 4) & 3; j = v / 16
//
//   value = (d * scale_j) * code - (dmin * minimum_j)
#pragma once

#include "quant/block.h"

namespace nutshell {

template <>
struct Format<DType::q2_k> {
  struct Block {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;
  };

  static void decode(const Block& block, float* out) {
    const float d = f16_to_f32(block.d), dmin = f16_to_f32(block.dmin);
    for (int v = 0; v < 256; ++v) {
      const float scale = d * static_cast<float>(block.scales[v / 16] & 15);
      const float minimum = dmin * static_cast<float>(block.scales[v / 16] >> 4);
      const int code = block.qs[v / 128 * 32 + v % 32] >> (v / 32 % 4 * 2) & 3;
      out[v] = scale * static_cast<float>(code) - minimum;
    }
  }
};
using Q2_K = Format<DType::q2_k>;
static_assert(kBlockSizeMatches<DType::q2_k>);

}  // namespace nutshell
