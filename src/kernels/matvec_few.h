// A few quantised activation rows times a packed matrix, with the bits that matvec gives for each: drafted
// tokens are checked so. Weights are read and decoded once for all of them, so that where memory is the limit
// four rows cost little more than one. L2.
#pragma once

#include "kernels/matvec.h"

namespace nutshell {

inline constexpr int kFewTokens = 4;

// y[t * y_stride + i] as matvec() gives it for x[t], t in [0, n_tokens), 1 <= n_tokens <= kFewTokens. The
// rows are quantised in the forms of matvec_forms().
void matvec_few(const PackedMatrix& w, const ActRow* x, int64_t n_tokens, Dot dot, const float* bias,
                bool accumulate, float* y, int64_t y_stride, int64_t begin, int64_t end);

}  // namespace nutshell
