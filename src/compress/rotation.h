// The orthogonal rotation of a coded tensor's columns: it makes weights look Gaussian, which the trellis code
// is made for, and spreads what its error does over all inputs. L5. R = (Q_m x H_p) diag(s), n = m p, p the
// largest power of two that divides n: signs, a Walsh-Hadamard transform in every block of p, an orthonormal
// Hartley matrix across the blocks. Signs depend on (seed, column) only, so tensors of one input share R.
#pragma once

#include <cstdint>

#include "base/parallel.h"
#include "compress/matrix.h"

namespace nutshell::compress {

// Every row x becomes R x.
void rotate_rows(ThreadPool& pool, uint64_t seed, Matrix& x);
// Every row x becomes R^T x.
void unrotate_rows(ThreadPool& pool, uint64_t seed, Matrix& x);
// h becomes R h R^T; h: symmetric.
void rotate_gram(ThreadPool& pool, uint64_t seed, Matrix& h);

}  // namespace nutshell::compress
