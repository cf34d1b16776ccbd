// One quantised activation row times a trellis-coded matrix: the decode path. L2. matvec() calls it; the
// prefill path only unpacks differently (matmul.cpp).
#pragma once

#include "kernels/matvec.h"

namespace nutshell {

// As matvec(). Precondition: is_trellis(w.dtype), w.code is valid_trellis().
void trellis_matvec(const PackedMatrix& w, const ActRow& x, Dot dot, const float* bias, bool accumulate,
                    float* y, int64_t begin, int64_t end);

}  // namespace nutshell
