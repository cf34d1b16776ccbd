#include "compress/moments.h"

#include <Eigen/Cholesky>
#include <algorithm>

#include "compress/float_run.h"
#include "compress/product.h"
#include "compress/quantize.h"
#include "compress/trellis.h"

namespace nutshell::compress {
namespace {

struct Factor {
  Matrix m;
  std::vector<float> d;
};

Factor factor_block(const Matrix& h, double damp) {
  const int64_t n = h.rows();
  const double mean = h.diagonal().cast<double>().mean();
  Factor out{Matrix::Identity(n, n), std::vector<float>(static_cast<size_t>(n), 1.0f)};
  if (!(mean > 0)) return out;
  // H = M D M^T with M upper is the Cholesky factor of H read backwards.
  Eigen::MatrixXd reversed = h.cast<double>().reverse();
  for (; damp < 1e3; damp *= 10) {
    Eigen::MatrixXd damped = reversed;
    damped.diagonal().array() += damp * mean;
    const Eigen::LLT<Eigen::MatrixXd> llt(damped);
    if (llt.info() != Eigen::Success) continue;
    const Eigen::MatrixXd l = llt.matrixL();
    for (int64_t j = 0; j < n; ++j) {
      const double pivot = l(n - 1 - j, n - 1 - j);
      out.d[static_cast<size_t>(j)] = static_cast<float>(pivot * pivot);
      for (int64_t i = 0; i < j; ++i) out.m(i, j) = static_cast<float>(l(n - 1 - i, n - 1 - j) / pivot);
    }
    return out;
  }
  return out;
}

}  // namespace

std::vector<int64_t> moment_blocks(int64_t n, int64_t most) {
  int64_t size = n;
  if (n > most) {
    const int64_t blocks = (n + most - 1) / most, each = (n + blocks - 1) / blocks;
    size = (each + kTrellisBlock - 1) / kTrellisBlock * kTrellisBlock;
  }
  std::vector<int64_t> sizes;
  for (int64_t at = 0; at < n; at += size) sizes.push_back(std::min(size, n - at));
  return sizes;
}

Moments zero_moments(int64_t n, int64_t most) {
  const std::vector<int64_t> sizes = moment_blocks(n, most);
  Moments m;
  m.n = n;
  m.block = sizes.empty() ? n : sizes[0];
  for (const int64_t size : sizes) m.blocks.push_back(Matrix::Zero(size, size));
  return m;
}

Moments& Moments::operator*=(float by) {
  for (Matrix& m : blocks) m *= by;
  return *this;
}

void add_moments(ThreadPool& pool, const Matrix& x, std::span<const float> weight, Moments& m) {
  for (size_t i = 0; i < m.blocks.size(); ++i)
    add_gram(pool, x.middleCols(static_cast<int64_t>(i) * m.block, m.blocks[i].rows()), weight, m.blocks[i]);
}

MetricFactor factor_metric(const Moments& h, double damp) {
  MetricFactor out;
  out.block = h.block;
  for (size_t i = 0; i < h.blocks.size(); ++i) {
    Factor f = factor_block(h.blocks[i], damp);
    // The encoder looks ahead into the next block, where nothing is fed back.
    if (i + 1 < h.blocks.size())
      f.m.conservativeResizeLike(Matrix::Zero(f.m.rows(), f.m.cols() + kTrellisAhead));
    out.m.push_back(std::move(f.m));
    out.d.insert(out.d.end(), f.d.begin(), f.d.end());
  }
  return out;
}

MetricFactor factor_inputs(ThreadPool& pool, Moments h, uint64_t seed, double damp) {
  if (!h.cut()) {
    to_code_space(pool, seed, h.blocks[0]);
    h.blocks[0].transposeInPlace();
    to_code_space(pool, seed, h.blocks[0]);
  }
  return factor_metric(h, damp);
}

RowFactor factor_outputs(const Moments& h, std::span<const int32_t> order, double damp) {
  RowFactor out;
  out.blocks.resize(h.blocks.size());
  // Rows of h within their block, in stored order.
  std::vector<std::vector<int64_t>> members(h.blocks.size());
  for (int64_t stored = 0; stored < h.n; ++stored) {
    const int64_t row = order.empty() ? stored : order[static_cast<size_t>(stored)];
    const auto b = static_cast<size_t>(row / h.block);
    out.places.emplace_back(static_cast<int32_t>(b), static_cast<int32_t>(members[b].size()));
    members[b].push_back(row % h.block);
    out.blocks[b].rows.push_back(static_cast<int32_t>(stored));
  }
  for (size_t b = 0; b < h.blocks.size(); ++b) {
    const Matrix& from = h.blocks[b];
    Matrix ordered(from.rows(), from.cols());
    for (int64_t i = 0; i < from.rows(); ++i)
      for (int64_t j = 0; j < from.cols(); ++j)
        ordered(i, j) = from(members[b][static_cast<size_t>(i)], members[b][static_cast<size_t>(j)]);
    out.blocks[b].m = factor_block(ordered, damp).m;
  }
  return out;
}

Vector multiply(const Vector& row, const MetricFactor& factor) {
  if (factor.m.empty()) return row;
  Vector out = Vector::Zero(row.size());
  for (size_t i = 0; i < factor.m.size(); ++i) {
    const Matrix& m = factor.m[i];
    constexpr int64_t kRows = 64;  // a group: below the diagonal are zeros, what lies before it is left out
    for (int64_t j = 0; j < m.rows(); j += kRows) {
      const int64_t at = static_cast<int64_t>(i) * factor.block + j, n = std::min(kRows, m.rows() - j);
      add_rows({row.data() + at, static_cast<size_t>(n)}, &m(j, j), m.cols(), m.rows() - j, out.data() + at);
    }
  }
  return out;
}

}  // namespace nutshell::compress
