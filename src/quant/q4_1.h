// Q4_1: 32 values as 4-bit codes with a scale and a minimum; 5 bits per value.
//
//   byte  0 1   2 3   4 ....... 19
//         d     m     qs[16]         d, m: f16; qs[i] = code of value i (low nibble), of value i + 16 (high)
//
//   value = d * code + m             range [m, m + 15 d], error at most |d| / 2 inside it
#pragma once

#include <algorithm>

#include "quant/block.h"
#include "quant/encode.h"

namespace nutshell {

template <>
struct Format<DType::q4_1> {
  struct Block {
    uint16_t d, m;
    uint8_t qs[16];
  };

  static void decode(const Block& block, float* out) {
    const float d = f16_to_f32(block.d), m = f16_to_f32(block.m);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(block.qs[i] & 15) + m;
      out[i + 16] = d * static_cast<float>(block.qs[i] >> 4) + m;
    }
  }

  // As ggml's reference quantiser: codes 0 and 15 are the extremes. Finite input.
  static void encode(const float* in, Block& block) {
    const auto [min, max] = std::minmax_element(in, in + 32);
    const float m = *min;
    const float d = (*max - m) / 15.0f;
    const float inverse = safe_inverse(d);
    block.d = f32_to_f16(d);
    block.m = f32_to_f16(m);
    for (int i = 0; i < 16; ++i) {
      const int low = clamp_code((in[i] - m) * inverse + 0.5f, 15);
      const int high = clamp_code((in[i + 16] - m) * inverse + 0.5f, 15);
      block.qs[i] = static_cast<uint8_t>(low | high << 4);
    }
  }
};
using Q4_1 = Format<DType::q4_1>;
static_assert(kBlockSizeMatches<DType::q4_1>);

}  // namespace nutshell
