// The matrices of the compressor: f32, row by row, Eigen. L5.
#pragma once

#include <Eigen/Core>

namespace nutshell::compress {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Vector = Eigen::Matrix<float, 1, Eigen::Dynamic, Eigen::RowMajor>;

}  // namespace nutshell::compress
