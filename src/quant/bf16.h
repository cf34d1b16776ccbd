// BF16: the upper half of an IEEE 754 binary32, little-endian; a block is one value. Range of f32, 8
// significant bits: relative error at most 2^-8 when rounded to nearest.
//
//   byte  0 1
//         seeeeeee emmmmmmm (as a little-endian word)
#pragma once

#include "quant/block.h"

namespace nutshell {

template <>
struct Format<DType::bf16> {
  struct Block {
    uint16_t bits;
  };
  static void decode(const Block& block, float* out) { *out = bf16_to_f32(block.bits); }
  // To nearest, ties to even.
  static void encode(const float* in, Block& block) { block.bits = f32_to_bf16(*in); }
};
using BF16 = Format<DType::bf16>;
static_assert(kBlockSizeMatches<DType::bf16>);

}  // namespace nutshell
