// Q8_0: 32 values as signed bytes with one scale; 8.5 bits per value.
//
//   byte  0 1   2 ....... 33
//         d     qs[32]           d: f16; qs: int8
//
//   value = d * qs[i]            range [-128 d, 127 d], error at most |d| / 2 inside it
#pragma once

#include <algorithm>
#include <cmath>

#include "quant/block.h"
#include "quant/encode.h"

namespace nutshell {

template <>
struct Format<DType::q8_0> {
  struct Block {
    uint16_t d;
    int8_t qs[32];
  };

  static void decode(const Block& block, float* out) {
    const float d = f16_to_f32(block.d);
    for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(block.qs[i]) * d;
  }

  // As ggml's reference quantiser: largest magnitude to 127, halves rounded away from zero. Finite input.
  static void encode(const float* in, Block& block) {
    const float d = std::fabs(signed_extreme(in, 32)) / 127.0f;
    const float inverse = safe_inverse(d);
    block.d = f32_to_f16(d);
    for (int i = 0; i < 32; ++i)
      block.qs[i] = static_cast<int8_t>(std::clamp(std::round(in[i] * inverse), -127.0f, 127.0f));
  }
};
using Q8_0 = Format<DType::q8_0>;
static_assert(kBlockSizeMatches<DType::q8_0>);

}  // namespace nutshell
