// IQ4_NL: 32 values as 4-bit indices into a fixed table of 16 unevenly spaced levels with one scale; 4.5 bits
// per value. The levels (kvalues_iq4nl of ggml) are denser around zero, where weights are.
//
//   byte  0 1   2 ....... 17
//         d     qs[16]           d: f16; qs[i] = index of value i (low nibble), of value i + 16 (high nibble)
//
//   value = d * kIq4Levels[index]    range [-127 d, 113 d]
#pragma once

#include "quant/block.h"

namespace nutshell {

inline constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

template <>
struct Format<DType::iq4_nl> {
  struct Block {
    uint16_t d;
    uint8_t qs[16];
  };

  static void decode(const Block& block, float* out) {
    const float d = f16_to_f32(block.d);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(kIq4Levels[block.qs[i] & 15]);
      out[i + 16] = d * static_cast<float>(kIq4Levels[block.qs[i] >> 4]);
    }
  }
};
using IQ4_NL = Format<DType::iq4_nl>;
static_assert(kBlockSizeMatches<DType::iq4_nl>);

}  // namespace nutshell
