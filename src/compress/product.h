// Products of matrices whose sums have one order on every machine (matrix.h says why). L5. Eigen's order
// follows from the width of the CPU's vectors; here lanes are outputs, so any width gives the same bits, and
// the native build need not do without AVX2: with Eigen at 128 bits measuring a model takes 2.2 times as
// long.
#pragma once

#include <cstdint>
#include <utility>

#include "compress/matrix.h"

namespace nutshell::compress {

// A matrix in memory: element (i, j) lies at data[i * row_step + j * col_step].
struct Strided {
  const float* data;
  int64_t rows, cols, row_step, col_step;

  template <typename Rows>  // a Matrix, or a block of one
  requires(Rows::IsRowMajor != 0) Strided(const Eigen::MatrixBase<Rows>& m)
      : data(m.derived().data()),
        rows(m.rows()),
        cols(m.cols()),
        row_step(m.derived().outerStride()),
        col_step(1) {}
  Strided transposed() const {
    Strided t = *this;
    std::swap(t.rows, t.cols);
    std::swap(t.row_step, t.col_step);
    return t;
  }
};

// c += a b. Every element adds, for each 256 columns of a, the sum of its products in the order of the
// columns, rounded after every product and every sum. Precondition: shapes fit, c is neither a nor b.
void add_product(const Strided& a, const Strided& b, Eigen::Ref<Matrix, 0, Eigen::OuterStride<>> c);

}  // namespace nutshell::compress
