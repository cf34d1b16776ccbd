// Several quantised activation rows times a packed matrix: the prefill path. L2.
#pragma once

#include <cstddef>

#include "kernels/matvec.h"
#include "kernels/quantize.h"

namespace nutshell {

// ActForms of the tiles that matmul reads.
int matmul_forms(DType dtype, Dot dot);
// Bytes of 16-byte aligned scratch each thread needs.
size_t matmul_scratch_bytes(DType dtype, int64_t n_cols);

// A block of rows of y: y[t * stride + i] for tokens t and weight rows i.
struct MatmulOut {
  float* y;
  int64_t stride;
  const float* bias;  // per weight row, or null
  bool accumulate;
};

// As matvec, for n_tokens rows in tiles. Every product is the same for any cut of rows into calls.
void matmul(const PackedMatrix& w, const ActTiles& x, int64_t n_tokens, Dot dot, const MatmulOut& out,
            int64_t begin, int64_t end, void* scratch);

}  // namespace nutshell
