// Q6_K: 256 values as 6-bit codes around 32; 16 sub-blocks of 16 with a signed 8-bit scale each, multiples of
// the block's scale; 6.5625 bits per value.
//
//   byte  0 ...... 127   128 .... 191   192 .... 207   208 209
//         ql[128]        qh[64]         scales[16]     d           d: f16; scales: int8
//
//   value v (0..255): low 4 bits = nibble (v / 64) % 2 of ql[64 (v / 128) + v % 64]
//                     high 2 bits = qh[32 (v / 128) + v % 32] >> 2 ((v / 32) % 4) & 3; j = v / 16
//
//   value = (d * scale_j) * (code - 32)
#pragma once

#include "quant/block.h"

namespace nutshell {

template <>
struct Format<DType::q6_k> {
  struct Block {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
  };

  static void decode(const Block& block, float* out) {
    const float d = f16_to_f32(block.d);
    for (int v = 0; v < 256; ++v) {
      const int low = block.ql[v / 128 * 64 + v % 64] >> (v / 64 % 2 * 4) & 15;
      const int high = block.qh[v / 128 * 32 + v % 32] >> (v / 32 % 4 * 2) & 3;
      out[v] = d * static_cast<float>(block.scales[v / 16]) * static_cast<float>((low | high << 4) - 32);
    }
  }
};
using Q6_K = Format<DType::q6_k>;
static_assert(kBlockSizeMatches<DType::q6_k>);

}  // namespace nutshell
