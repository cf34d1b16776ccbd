// F32: IEEE 754 binary32, little-endian; a block is one value.
//
//   byte  0 .. 3
//         bits
#pragma once

#include "quant/block.h"

namespace nutshell {

template <>
struct Format<DType::f32> {
  struct Block {
    float value;
  };
  static void decode(const Block& block, float* out) { *out = block.value; }
  static void encode(const float* in, Block& block) { block.value = *in; }
};
using F32 = Format<DType::f32>;
static_assert(kBlockSizeMatches<DType::f32>);

}  // namespace nutshell
