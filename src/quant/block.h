// What every number format file of this folder specialises: Format<DType>. L1.
// A format is one file: its head draws the bytes, Block is those bytes, decode() is their meaning. Decoding
// is exact: the same operations in the same order as the gguf Python package (0.19) and ggml, so the same
// bits. Every bit pattern decodes without undefined behaviour; scales may be infinite or NaN and then so are
// values. Layouts: ggml-common.h of ggml. The kernels read other, packed layouts; this is the file's.
#pragma once

#include <cstdint>

#include "base/half.h"
#include "tensor/dtype.h"

namespace nutshell {

// Members: struct Block (one block as in the file), static void decode(const Block&, float* out), where out
// has block_length values; and where it exists static void encode(const float* in, Block&).
template <DType>
struct Format;

// Values and bytes per block, and the proof that Block is what tensor/dtypes.def says.
template <DType dtype>
inline constexpr int64_t kBlockLength = info_of(dtype).block_length;
template <DType dtype>
inline constexpr bool kBlockSizeMatches = static_cast<int64_t>(sizeof(typename Format<dtype>::Block)) ==
                                          info_of(dtype).block_bytes;

}  // namespace nutshell
