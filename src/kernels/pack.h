// Packing of weight rows into the kernels' layout (packed.h) and back. L2.
#pragma once

#include <optional>

#include "base/result.h"
#include "kernels/packed.h"

namespace nutshell {

// Bytes of n_rows x n_cols packed; nothing when the format has no packed form, n_cols is not a multiple of
// its block, or the size does not fit.
std::optional<uint64_t> packed_bytes(DType dtype, int64_t n_rows, int64_t n_cols);

// Trellis superrows have the layout already: they are checked and copied.
//
// Packs n_rows (1..16) file-format rows, back to back at rows, into the superrow at out. Missing rows become
// zero. corrupt_file when a scale is infinite or NaN.
Status pack_superrow(DType dtype, const uint8_t* rows, int n_rows, int64_t n_cols, uint8_t* out);

// Values of row r (0..15) of a packed superrow of a block format: the same bits as decode_row() of the file's
// row.
void unpack_row(DType dtype, const uint8_t* superrow, int r, int64_t n_cols, float* out);

}  // namespace nutshell
