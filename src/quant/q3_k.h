// Q3_K: 256 values as 3-bit codes around 4; 16 sub-blocks of 16 with a signed 6-bit scale each, multiples of
// the block's scale; 3.4375 bits per value.
//
//   byte  0 ....... 31   32 ...... 95   96 ..... 107   108 109
//         hmask[32]      qs[64]         scales[12]     d           d: f16
//
//   scale of sub-block j (0..15), 6 bits, minus 32: low 4 = nibble j / 8 of scales[j % 8],
//                                                   high 2 = bits 2 (j / 4) of scales[8 + j % 4]
//   value v (0..255): low 2 = qs[32 (v / 128) + v % 32] >> 2 ((v / 32) % 4) & 3
//                     third bit = bit v / 32 of hmask[v % 32]; clear means minus 4; j = v / 16
//
//   value = (d * scale_j) * (low 2 - (third bit ? 0 : 4))
#pragma once

#include "quant/block.h"

namespace nutshell {

template <>
struct Format<DType::q3_k> {
  struct Block {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
  };

  // Of sub-block j in [0, 16): -32..31.
  static int scale(const Block& block, int j) {
    const int low = block.scales[j % 8] >> (j / 8 * 4) & 15;
    const int high = block.scales[8 + j % 4] >> (j / 4 * 2) & 3;
    return (low | high << 4) - 32;
  }

  static void decode(const Block& block, float* out) {
    const float d = f16_to_f32(block.d);
    for (int v = 0; v < 256; ++v) {
      const int low = block.qs[v / 128 * 32 + v % 32] >> (v / 32 % 4 * 2) & 3;
      const int third = block.hmask[v % 32] >> (v / 32) & 1;
      out[v] = d * static_cast<float>(scale(block, v / 16)) * static_cast<float>(low - (third ? 0 : 4));
    }
  }
};
using Q3_K = Format<DType::q3_k>;
static_assert(kBlockSizeMatches<DType::q3_k>);

}  // namespace nutshell
