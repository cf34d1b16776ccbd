// IQ4_XS: 256 values as 4-bit indices into the levels of IQ4_NL; 8 sub-blocks of 32 with a signed 6-bit scale
// each, multiples of the block's scale; 4.25 bits per value.
//
//   byte  0 1   2 3        4 ..... 7     8 ..... 135
//         d     scales_h   scales_l[4]   qs[128]       d: f16; scales_h: u16
//
//   scale of sub-block j (0..7), 6 bits, minus 32: low 4 = nibble j % 2 of scales_l[j / 2],
//                                                  high 2 = bits 2 j of scales_h
//   value i of sub-block j: index = qs[16 j + i % 16], low nibble for i < 16, high nibble above
//
//   value = (d * scale_j) * kIq4Levels[index]
#pragma once

#include "quant/block.h"
#include "quant/iq4_nl.h"

namespace nutshell {

template <>
struct Format<DType::iq4_xs> {
  struct Block {
    uint16_t d;
    uint16_t scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
  };

  // Of sub-block j in [0, 8): -32..31.
  static int scale(const Block& block, int j) {
    const int low = block.scales_l[j / 2] >> (j % 2 * 4) & 15;
    const int high = block.scales_h >> (2 * j) & 3;
    return (low | high << 4) - 32;
  }

  static void decode(const Block& block, float* out) {
    const float d = f16_to_f32(block.d);
    for (int j = 0; j < 8; ++j) {
      const float dl = d * static_cast<float>(scale(block, j));
      for (int i = 0; i < 16; ++i) {
        const uint8_t byte = block.qs[j * 16 + i];
        out[j * 32 + i] = dl * static_cast<float>(kIq4Levels[byte & 15]);
        out[j * 32 + 16 + i] = dl * static_cast<float>(kIq4Levels[byte >> 4]);
      }
    }
  }
};
using IQ4_XS = Format<DType::iq4_xs>;
static_assert(kBlockSizeMatches<DType::iq4_xs>);

}  // namespace nutshell
