// F16: IEEE 754 binary16, little-endian; a block is one value. Range +-65504, subnormals down to 2^-24,
// 11 significant bits: relative error at most 2^-11.
//
//   byte  0 1
//         seeeeemm mmmmmmmm (as a little-endian word)
#pragma once

#include "quant/block.h"

namespace nutshell {

template <>
struct Format<DType::f16> {
  struct Block {
    uint16_t bits;
  };
  static void decode(const Block& block, float* out) { *out = f16_to_f32(block.bits); }
  // To nearest, ties to even; beyond 65520 infinite.
  static void encode(const float* in, Block& block) { block.bits = f32_to_f16(*in); }
};
using F16 = Format<DType::f16>;
static_assert(kBlockSizeMatches<DType::f16>);

}  // namespace nutshell
