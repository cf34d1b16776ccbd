// The generic path: weights kept in their file format, decoded row by row to f32 and multiplied with f32
// activations. For formats without an integer kernel and for shapes that do not fit the packed layout. L2.
#pragma once

#include <cstddef>

#include "kernels/matmul.h"

namespace nutshell {

struct DenseMatrix {
  DType dtype = DType::f32;
  int64_t n_rows = 0, n_cols = 0;
  const uint8_t* data = nullptr;  // file format, rows back to back
};

// Sum of a[i] * b[i].
float dot_f32(const float* a, const float* b, int64_t n);

// out.y[t][i] = W[i] . x[t] + bias (+ y) for rows [begin, end); x: [n_tokens, n_cols] f32 with row stride
// x_stride; scratch: n_cols floats.
void dense_matmul(const DenseMatrix& w, const float* x, int64_t x_stride, int64_t n_tokens,
                  const MatmulOut& out, int64_t begin, int64_t end, float* scratch);

}  // namespace nutshell
