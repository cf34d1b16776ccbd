// Q5_0: 32 values as 5-bit codes around 16 with one scale; 5.5 bits per value.
//
//   byte  0 1   2 ... 5   6 ....... 21
//         d     qh[4]     qs[16]       d: f16; qs[i] = low 4 bits of value i (low nibble), of i + 16 (high)
//                                      qh: bit i (little-endian word) = fifth bit of value i
//
//   value = d * (code - 16)            range [-16 d, 15 d], error at most |d| / 2 inside it
#pragma once

#include "base/bytes.h"
#include "quant/block.h"
#include "quant/encode.h"

namespace nutshell {

template <>
struct Format<DType::q5_0> {
  struct Block {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
  };

  static void decode(const Block& block, float* out) {
    const float d = f16_to_f32(block.d);
    const auto qh = load_le<uint32_t>(block.qh);
    for (int i = 0; i < 16; ++i) {
      const int low = (block.qs[i] & 15) | static_cast<int>(qh >> i & 1) << 4;
      const int high = (block.qs[i] >> 4) | static_cast<int>(qh >> (i + 16) & 1) << 4;
      out[i] = d * static_cast<float>(low - 16);
      out[i + 16] = d * static_cast<float>(high - 16);
    }
  }

  // As ggml's reference quantiser: the value of largest magnitude becomes the code 0. Finite input.
  static void encode(const float* in, Block& block) {
    const float d = signed_extreme(in, 32) / -16.0f;
    const float inverse = safe_inverse(d);
    block = {f32_to_f16(d), {}, {}};
    for (int i = 0; i < 32; ++i) {
      const int code = clamp_code(in[i] * inverse + 16.5f, 31);
      block.qs[i % 16] = static_cast<uint8_t>(block.qs[i % 16] | (code & 15) << (i / 16 * 4));
      block.qh[i / 8] = static_cast<uint8_t>(block.qh[i / 8] | code >> 4 << (i % 8));
    }
  }
};
using Q5_0 = Format<DType::q5_0>;
static_assert(kBlockSizeMatches<DType::q5_0>);

}  // namespace nutshell
