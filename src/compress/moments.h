// Second moments of vectors, and the metrics made of them. L5.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "compress/matrix.h"

namespace nutshell::compress {

// Mean or sum of x x^T, [n, n]. Of long vectors that would be gigabytes for a matrix and hours of arithmetic:
// it is cut into blocks on the diagonal, and what lies between blocks counts as zero. Those of inputs are cut
// in the basis and order that matrices are coded in (quantize.h, to_code_space), in which every value holds a
// part of all of them.
struct Moments {
  int64_t n = 0, block = 0;    // values of a vector, and of a block (of the last one: what is left)
  std::vector<Matrix> blocks;  // none: nothing was measured

  Moments() = default;
  // In one block.
  template <typename Square>
  Moments(const Eigen::MatrixBase<Square>& m) : n(m.rows()), block(n), blocks{m} {}

  bool cut() const { return blocks.size() > 1; }
  Moments& operator*=(float by);
};
// Sizes of the blocks of vectors of n values: one up to `most` values, else all but the last one of the same
// size, about that.
std::vector<int64_t> moment_blocks(int64_t n, int64_t most);
Moments zero_moments(int64_t n, int64_t most);
// m += the sum over rows of weight[row] x x^T. weight: empty, or one per row.
void add_moments(ThreadPool& pool, const Matrix& x, std::span<const float> weight, Moments& m);

// M and D of a symmetric positive H = M diag(D) M^T, M unit upper triangular, block by block.
struct MetricFactor {
  int64_t block = 0;
  std::vector<Matrix>
      m;  // none: the identity, which costs nothing. Columns of zeros may follow those of the block
  std::vector<float> d;
};
// damp: times the mean of the diagonal, added to it. A block of zeros becomes the identity.
MetricFactor factor_metric(const Moments& h, double damp);
// The factor of R h R^T in stream order, what the columns of a coded matrix are measured with.
MetricFactor factor_inputs(ThreadPool& pool, Moments h, uint64_t seed, double damp);

// The factor of a metric of rows in the order they are stored in: stored row i is row order[i] of h (empty:
// i). Rows of a block need not be neighbours in that order.
struct RowFactor {
  struct Block {
    Matrix m;                   // unit upper triangular, by place in `rows`
    std::vector<int32_t> rows;  // stored rows, in their order
  };
  std::vector<Block> blocks;
  std::vector<std::pair<int32_t, int32_t>> places;  // by stored row: block, place in it
};
RowFactor factor_outputs(const Moments& h, std::span<const int32_t> order, double damp);

// row M.
Vector multiply(const Vector& row, const MetricFactor& factor);

}  // namespace nutshell::compress
