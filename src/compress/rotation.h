// The rotation of a coded tensor's columns (kernels/rotate.h), of many rows at once. L5.
#pragma once

#include <cstdint>

#include "base/parallel.h"
#include "compress/matrix.h"

namespace nutshell::compress {

// Every row x becomes R x.
void rotate_rows(ThreadPool& pool, uint64_t seed, Matrix& x);
// Every row x becomes R^T x.
void unrotate_rows(ThreadPool& pool, uint64_t seed, Matrix& x);

}  // namespace nutshell::compress
