// One quantised activation row times a packed matrix: the decode path. L2.
#pragma once

#include "kernels/packed.h"
#include "kernels/quantize.h"
#include "kernels/simd.h"
#include "tensor/trellis.h"

namespace nutshell {

// A packed weight in memory.
struct PackedMatrix {
  DType dtype = DType::q4_0;
  int64_t n_rows = 0, n_cols = 0;
  const uint8_t* data = nullptr;  // 16-byte aligned
  int64_t superrow_bytes = 0;
  const TrellisCode* code = nullptr;  // of the trellis formats; and then perhaps:
  const int32_t* places = nullptr;    // the result of row i goes to y[places[i]], with bias[places[i]]
};

// ActForms of a row that matvec reads.
int matvec_forms(DType dtype, Dot dot);

// y[i] = sum_k W[i][k] x[k] + bias[i] (+ y[i] if accumulate) for the rows i of superrows [begin, end), with x
// the quantised values. bias may be null. y: n_rows values. dot must exist in this flavour.
void matvec(const PackedMatrix& w, const ActRow& x, Dot dot, const float* bias, bool accumulate, float* y,
            int64_t begin, int64_t end);

}  // namespace nutshell
