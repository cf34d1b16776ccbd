// Products of matrices whose sums have one order on every machine (matrix.h says why). L5. Eigen's order
// follows from the width of the CPU's vectors; here lanes are outputs, so any width gives the same bits, and
// the native build need not do without AVX2: with Eigen at 128 bits measuring a model takes 2.2 times as
// long.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "compress/matrix.h"

namespace nutshell::compress {

// A matrix in memory: element (i, j) lies at data[i * row_step + j * col_step].
struct Strided {
  const float* data;
  int64_t rows, cols, row_step, col_step;

  Strided(const float* values, int64_t n_rows, int64_t n_cols, int64_t by_row, int64_t by_col)
      : data(values), rows(n_rows), cols(n_cols), row_step(by_row), col_step(by_col) {}
  template <typename Rows>  // a Matrix, or a block of one
  requires(Rows::IsRowMajor != 0) Strided(const Eigen::MatrixBase<Rows>& m)
      : data(m.derived().data()),
        rows(m.rows()),
        cols(m.cols()),
        row_step(m.derived().outerStride()),
        col_step(1) {}
  Strided columns(int64_t first, int64_t n) const {
    return {data + first * col_step, rows, n, row_step, col_step};
  }
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

// out[k] += by[i] * rows[i * step + k] for every i in its order; n values.
void add_rows(std::span<const float> by, const float* rows, int64_t step, int64_t n, float* out);
// The same of rows that lie anywhere.
void add_rows(std::span<const float> by, std::span<const float* const> rows, int64_t n, float* out);

}  // namespace nutshell::compress
