// Q4_0: 32 values as 4-bit codes around 8 with one scale; 4.5 bits per value.
//
//   byte  0 1   2 ....... 17
//         d     qs[16]           d: f16; qs[i] = code of value i (low nibble), of value i + 16 (high nibble)
//
//   value = d * (code - 8)       range [-8 d, 7 d], error at most |d| / 2 inside it
#pragma once

#include "quant/block.h"
#include "quant/encode.h"

namespace nutshell {

template <>
struct Format<DType::q4_0> {
  struct Block {
    uint16_t d;
    uint8_t qs[16];
  };

  static void decode(const Block& block, float* out) {
    const float d = f16_to_f32(block.d);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>((block.qs[i] & 15) - 8);
      out[i + 16] = d * static_cast<float>((block.qs[i] >> 4) - 8);
    }
  }

  // As ggml's reference quantiser: the value of largest magnitude becomes the code 0. Finite input.
  static void encode(const float* in, Block& block) {
    const float d = signed_extreme(in, 32) / -8.0f;
    const float inverse = safe_inverse(d);
    block.d = f32_to_f16(d);
    for (int i = 0; i < 16; ++i) {
      const int low = clamp_code(in[i] * inverse + 8.5f, 15);
      const int high = clamp_code(in[i + 16] * inverse + 8.5f, 15);
      block.qs[i] = static_cast<uint8_t>(low | high << 4);
    }
  }
};
using Q4_0 = Format<DType::q4_0>;
static_assert(kBlockSizeMatches<DType::q4_0>);

}  // namespace nutshell
