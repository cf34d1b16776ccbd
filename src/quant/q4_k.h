// Q4_K: 256 values as 4-bit codes; 8 sub-blocks of 32 with a 6-bit scale and a 6-bit minimum each, multiples
// of two scales of the block; 4.5 bits per value.
//
//   byte  0 1   2 3    4 ..... 15   16 ...... 143
//         d     dmin   scales[12]   qs[128]          d, dmin: f16; scales: see k_scales.h
//
//   value v (0..255): code = nibble (v / 32) % 2 of qs[32 (v / 64) + v % 32]; j = v / 32
//
//   value = (d * scale_j) * code - (dmin * minimum_j)
#pragma once

#include "quant/block.h"
#include "quant/k_scales.h"

namespace nutshell {

template <>
struct Format<DType::q4_k> {
  struct Block {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
  };

  static void decode(const Block& block, float* out) {
    const float d = f16_to_f32(block.d), dmin = f16_to_f32(block.dmin);
    for (int j = 0; j < 8; ++j) {
      const KScale s = unpack_k_scale(block.scales, j);
      const float scale = d * static_cast<float>(s.scale);
      const float minimum = dmin * static_cast<float>(s.minimum);
      const uint8_t* qs = block.qs + j / 2 * 32;
      for (int i = 0; i < 32; ++i)
        out[j * 32 + i] = scale * static_cast<float>(qs[i] >> (j % 2 * 4) & 15) - minimum;
    }
  }

  static void encode(const float* in, Block& block) {
    uint8_t codes[256];
    encode_k_scales(in, 15, block, codes);
    for (int v = 0; v < 128; ++v)
      block.qs[v] = static_cast<uint8_t>(codes[v / 32 * 64 + v % 32] | codes[v / 32 * 64 + 32 + v % 32] << 4);
  }
};
using Q4_K = Format<DType::q4_k>;
static_assert(kBlockSizeMatches<DType::q4_k>);

}  // namespace nutshell
