#include "compress/quantize.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "compress/items.h"
#include "compress/rotation.h"
#include "compress/trellis.h"

namespace nutshell::compress {

MetricFactor factor_metric(const Matrix& h, double damp) {
  const int64_t n = h.rows();
  const double mean = h.diagonal().cast<double>().mean();
  MetricFactor out{Matrix::Identity(n, n), std::vector<float>(static_cast<size_t>(n), 1.0f)};
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

namespace {

void streams_of_rows(ThreadPool& pool, Matrix& x) {
  for_items(pool, x.rows(), [&](int64_t r) {
    const Vector row = x.row(r);
    const auto n = static_cast<size_t>(row.size());
    to_streams({row.data(), n}, {x.row(r).data(), n});
  });
}

}  // namespace

MetricFactor factor_inputs(ThreadPool& pool, Matrix h, uint64_t seed, double damp) {
  rotate_gram(pool, seed, h);
  streams_of_rows(pool, h);
  h.transposeInPlace();
  streams_of_rows(pool, h);
  return factor_metric(h, damp);
}

void to_code_space(ThreadPool& pool, uint64_t seed, Matrix& w) {
  rotate_rows(pool, seed, w);
  streams_of_rows(pool, w);
}

CodedMatrix prepare_coded(int bits, const Matrix& w) {
  CodedMatrix c;
  c.bits = bits;
  c.n_rows = w.rows();
  c.n_cols = w.cols();
  c.codes.resize(static_cast<size_t>(w.size()));
  c.row_scales.resize(static_cast<size_t>(w.rows()));
  const float largest = std::sqrt(w.rowwise().squaredNorm().maxCoeff() / static_cast<float>(w.cols()));
  c.scale = largest > 0 ? largest * default_trellis(trellis_type(bits)).step : 1.0f;
  return c;
}

void quantize_rows(const MetricFactor& inputs, const MetricFactor* outputs, int64_t begin, int64_t end,
                   Matrix& rotated, CodedMatrix& coded) {
  const int64_t n = rotated.cols();
  const float step = default_trellis(trellis_type(coded.bits)).step;
  TrellisEncoder encoder(coded.bits, inputs.m, inputs.d);
  Matrix errors(outputs != nullptr ? end - begin : 0, n);
  Vector target(n), scaled(n), values(n);
  for (int64_t r = begin; r < end; ++r) {
    target = rotated.row(r);
    if (outputs != nullptr && r > begin)
      target.noalias() += outputs->m.col(r).segment(begin, r - begin).transpose() * errors.topRows(r - begin);
    const float sigma = std::sqrt(target.squaredNorm() / static_cast<float>(n));
    const std::span<uint8_t> codes(coded.codes.data() + r * n, static_cast<size_t>(n));
    float scale = 0;
    values.setZero();
    if (sigma > 1e-20f) {
      scaled = target / sigma;
      encoder.encode({scaled.data(), codes.size()}, codes, {values.data(), codes.size()});
      // The best scale in the metric: with y = row M, sum d (t - a q)^2 is least at a = <t, q> / <q, q>.
      Vector q = values, t = scaled;
      if (inputs.m.size() > 0) {
        q = values * inputs.m.topRows(n).triangularView<Eigen::UnitUpper>();
        t = scaled * inputs.m.topRows(n).triangularView<Eigen::UnitUpper>();
      }
      const Vector dq = q.cwiseProduct(Eigen::Map<const Vector>(inputs.d.data(), n));
      const float a = std::clamp(dq.dot(t) / std::max(dq.dot(q), 1e-30f), 0.7f, 1.5f);
      scale = sigma * a * step;
    }
    const uint16_t half = f32_to_f16(scale / coded.scale);
    coded.row_scales[static_cast<size_t>(r)] = half;
    values *= f16_to_f32(half) * coded.scale / step;
    if (outputs != nullptr) errors.row(r - begin) = rotated.row(r) - values;
  }
}

std::vector<uint8_t> pack(const CodedMatrix& c) {
  std::vector<uint8_t> out;
  const int64_t n_super = (c.n_rows + 15) / 16;
  out.reserve(static_cast<size_t>(n_super * (32 + 2 * c.bits * c.n_cols)));
  std::vector<uint16_t> scales(16);
  std::vector<uint8_t> codes(static_cast<size_t>(16 * c.n_cols));
  for (int64_t s = 0; s < n_super; ++s) {
    const int64_t rows = std::min<int64_t>(16, c.n_rows - 16 * s);
    std::fill(scales.begin(), scales.end(), uint16_t{0});
    std::fill(codes.begin(), codes.end(), uint8_t{0});
    std::copy_n(c.row_scales.begin() + 16 * s, rows, scales.begin());
    std::copy_n(c.codes.begin() + 16 * s * c.n_cols, rows * c.n_cols, codes.begin());
    pack_superrow(c.bits, c.n_cols, scales, codes, out);
  }
  return out;
}

void decode(ThreadPool& pool, uint64_t seed, const CodedRows& coded, Matrix& rows) {
  const DType dtype = trellis_type(coded.bits);
  TrellisCode code = default_trellis(dtype).code;
  code.scale = coded.scale;
  for_items(pool, (rows.rows() + kTrellisRows - 1) / kTrellisRows, [&](int64_t s) {
    const uint8_t* superrow = coded.bytes.data() + s * trellis_superrow_bytes(dtype, rows.cols());
    for (int64_t r = s * kTrellisRows; r < std::min(rows.rows(), (s + 1) * kTrellisRows); ++r)
      decode_trellis_row(dtype, code, superrow, static_cast<int>(r % kTrellisRows), rows.cols(),
                         rows.row(r).data());
  });
  unrotate_rows(pool, seed, rows);
}

}  // namespace nutshell::compress
