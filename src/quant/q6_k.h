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
#include "quant/fit.h"

namespace nutshell {

template <>
struct Format<DType::q6_k> {
  struct Block {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
  };

  // Value v's code; its bits were zero before.
  static void put(Block& block, int v, int code) {
    uint8_t& low = block.ql[v / 128 * 64 + v % 64];
    uint8_t& high = block.qh[v / 128 * 32 + v % 32];
    low = static_cast<uint8_t>(low | (code & 15) << (v / 64 % 2 * 4));
    high = static_cast<uint8_t>(high | (code >> 4) << (v / 32 % 4 * 2));
  }

  static void decode(const Block& block, float* out) {
    const float d = f16_to_f32(block.d);
    for (int v = 0; v < 256; ++v) {
      const int low = block.ql[v / 128 * 64 + v % 64] >> (v / 64 % 2 * 4) & 15;
      const int high = block.qh[v / 128 * 32 + v % 32] >> (v / 32 % 4 * 2) & 3;
      out[v] = d * static_cast<float>(block.scales[v / 16]) * static_cast<float>((low | high << 4) - 32);
    }
  }

  // The scales are rounded as those of Q4_K: one up and one down are tried too.
  static void encode(const float* in, Block& block) {
    float fits[16];
    for (int j = 0; j < 16; ++j) fits[j] = fit_signed(in + 16 * j, 16, 32);
    block.d = f32_to_f16(signed_extreme(fits, 16) / -128.0f);
    const float d = f16_to_f32(block.d);
    block = {{}, {}, {}, block.d};
    for (int j = 0; j < 16; ++j) {
      const int nearest = clamp_code(fits[j] * safe_inverse(d) + 128.5f, 255) - 128;
      int best = nearest;
      float least = signed_error(in + 16 * j, 16, 32, d * static_cast<float>(best));
      for (int s = std::max(nearest - 1, -128); s <= std::min(nearest + 1, 127); ++s)
        if (const float error = signed_error(in + 16 * j, 16, 32, d * static_cast<float>(s)); error < least) {
          least = error;
          best = s;
        }
      block.scales[j] = static_cast<int8_t>(best);
      int8_t codes[16];
      signed_error(in + 16 * j, 16, 32, d * static_cast<float>(best), codes);
      for (int i = 0; i < 16; ++i) put(block, 16 * j + i, codes[i] + 32);
    }
  }
};
using Q6_K = Format<DType::q6_k>;
static_assert(kBlockSizeMatches<DType::q6_k>);

}  // namespace nutshell
