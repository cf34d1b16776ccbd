// The matrices of the compressor: f32, row by row, Eigen. L5.
//
// Native builds and wasm add the same numbers in the same order, so that a file made in the tab is the one
// that the native tool makes (portable.h). Eigen's order follows from the width of its vectors (128 bits
// everywhere: CMakeLists.txt compiles only the kernels for AVX2), from fused multiply-adds (none), from the
// number of registers it believes in and the sizes of caches, and its fast square root is an estimate that
// differs between CPUs.
#pragma once

#define EIGEN_FAST_MATH 0
#define EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS 16
#include <Eigen/Core>

namespace nutshell::compress {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Vector = Eigen::Matrix<float, 1, Eigen::Dynamic, Eigen::RowMajor>;

// To be called before the first product: products are cut up as for a CPU with these caches.
inline void fix_cache_sizes() { Eigen::setCpuCacheSizes(32 << 10, 512 << 10, 4 << 20); }

}  // namespace nutshell::compress
