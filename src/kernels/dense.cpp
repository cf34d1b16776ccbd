#include "kernels/dense.h"

#include "kernels/simd.h"

namespace nutshell {

// Four sums of four lanes, added in a fixed order; the tail one by one.
NUTSHELL_NOINLINE float dot_f32(const float* a, const float* b, int64_t n) {
  V s[4];
  for (V& v : s) v = splat_f32(0);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int j = 0; j < 4; ++j) s[j] = madd(load(a + i + 4 * j), load(b + i + 4 * j), s[j]);
  float sum = sum_lanes(wasm_f32x4_add(wasm_f32x4_add(s[0], s[1]), wasm_f32x4_add(s[2], s[3])));
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void dense_matmul(const DenseMatrix& w, const float* x, int64_t x_stride, int64_t n_tokens,
                  const MatmulOut& out, int64_t begin, int64_t end, float* scratch) {
  const int64_t bytes = row_bytes(w.dtype, w.n_cols);
  for (int64_t row = begin; row < end; ++row) {
    decode_row(w.dtype, w.data + row * bytes, w.n_cols, scratch);
    for (int64_t t = 0; t < n_tokens; ++t) {
      const float v =
          dot_f32(scratch, x + t * x_stride, w.n_cols) + (out.bias != nullptr ? out.bias[row] : 0.0f);
      float& y = out.y[t * out.stride + row];
      y = out.accumulate ? y + v : v;
    }
  }
}

}  // namespace nutshell
