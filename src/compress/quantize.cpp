#include "compress/quantize.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/half.h"
#include "compress/items.h"
#include "compress/product.h"
#include "compress/rotation.h"
#include "compress/trellis.h"

namespace nutshell::compress {

void to_code_order(ThreadPool& pool, Matrix& w) {
  for_items(pool, w.rows(), [&](int64_t r) {
    const Vector row = w.row(r);
    const auto n = static_cast<size_t>(row.size());
    to_streams({row.data(), n}, {w.row(r).data(), n});
  });
}

void to_code_space(ThreadPool& pool, uint64_t seed, Matrix& w) {
  rotate_rows(pool, seed, w);
  to_code_order(pool, w);
}

CodedMatrix prepare_coded(int bits, float largest, int64_t n_rows, int64_t n_cols) {
  CodedMatrix c;
  c.bits = bits;
  c.n_rows = n_rows;
  c.n_cols = n_cols;
  c.codes.resize(static_cast<size_t>(n_rows * n_cols));
  c.row_scales.resize(static_cast<size_t>(n_rows));
  const float size = std::sqrt(largest / static_cast<float>(n_cols));
  c.scale = size > 0 ? size * default_trellis(trellis_type(bits)).step : 1.0f;
  return c;
}

CodedMatrix prepare_coded(int bits, const Matrix& w, int64_t first, int64_t n) {
  CodedMatrix c = prepare_coded(bits, w.middleRows(first, n).rowwise().squaredNorm().maxCoeff(), n, w.cols());
  c.first_row = first;
  return c;
}

namespace {

// Root-mean-squares a row's step is tried with, by width. One try at the middle one against three, squared
// error of 300 Gaussian rows of 576 without feedback: NT2 .0852, .0849; NT3 .0234, .0231; NT4 .0071, .0069.
// With feedback targets vary more than weights do, what is far out costs most where steps are small, and more
// is gained.
constexpr int kTries = 3;
constexpr float kScales[][kTries] = {{0.98f, 1.04f, 1.10f}, {0.95f, 1.01f, 1.07f}, {0.92f, 0.98f, 1.04f}};
static_assert(std::size(kScales) == kMaxTrellisBits - kMinTrellisBits + 1);

// A row's codes; values = what they say under scale, in units of the tables' step.
struct RowCode {
  std::vector<uint8_t> codes;
  Vector values;
  float scale = 0;
  double error = 1e300;  // in the metric of the columns
};

// A row to be coded, and what it is in the metric: row M.
struct RowTarget {
  Vector values, in_metric;
};

// The codes of target at a unit of the tables' step, with the scale that is best for them in the metric: with
// y = row M, sum d (t - a q)^2 is least at a = <t, q> / <q, q>.
void code_row(TrellisEncoder& encoder, const MetricFactor& inputs, const RowTarget& target, float unit,
              RowCode& out) {
  const int64_t n = target.values.size();
  const auto size = static_cast<size_t>(n);
  const Vector scaled = target.values / unit, t = target.in_metric / unit;
  Vector left(n);
  out.codes.resize(size);
  out.values.resize(n);
  encoder.encode({scaled.data(), size}, out.codes, {out.values.data(), size}, {left.data(), size});
  const Vector q = t - left;
  const Eigen::Map<const Vector> d(inputs.d.data(), n);
  const Vector dq = q.cwiseProduct(d);
  const float a = std::clamp(dq.dot(t) / std::max(dq.dot(q), 1e-30f), 0.7f, 1.5f);
  out.scale = unit * a;
  left = (t - a * q) * unit;
  out.error = static_cast<double>(left.cwiseProduct(left).dot(d));
}

// What the errors of the rows before `row` leave it to aim at.
void add_feedback(const RowFactor& outputs, int64_t row, const Matrix& errors, Vector& target) {
  const auto [b, place] = outputs.places[static_cast<size_t>(row)];
  const RowFactor::Block& block = outputs.blocks[static_cast<size_t>(b)];
  std::vector<float> by(static_cast<size_t>(place));
  std::vector<const float*> rows(by.size());
  for (size_t i = 0; i < by.size(); ++i) {
    by[i] = block.m(static_cast<int64_t>(i), place);
    rows[i] = errors.row(block.rows[i]).data();
  }
  add_rows(by, rows, target.size(), target.data());
}

}  // namespace

double coding_error(int bits) {
  constexpr double kErrors[] = {0.0861, 0.0229, 0.0069};
  return kErrors[bits - kMinTrellisBits];
}

void quantize_rows(const MetricFactor& inputs, const RowFactor* outputs, int64_t begin, int64_t end,
                   Matrix& rotated, CodedMatrix& coded) {
  const int64_t n = rotated.cols();
  const float step = default_trellis(trellis_type(coded.bits)).step;
  TrellisEncoder encoder(coded.bits, inputs);
  RowTarget target;
  RowCode best, other;
  for (int64_t r = begin; r < end; ++r) {
    target.values = rotated.row(r);
    if (outputs != nullptr) add_feedback(*outputs, r, rotated, target.values);
    target.in_metric = multiply(target.values, inputs);
    const float sigma = std::sqrt(target.values.squaredNorm() / static_cast<float>(n));
    best = {std::vector<uint8_t>(static_cast<size_t>(n)), Vector::Zero(n)};
    if (sigma > 1e-20f)
      for (const float by : kScales[coded.bits - kMinTrellisBits]) {
        code_row(encoder, inputs, target, by * sigma, other);
        if (other.error < best.error) std::swap(best, other);
      }
    const int64_t at = r - coded.first_row;
    std::copy(best.codes.begin(), best.codes.end(), coded.codes.begin() + at * n);
    const uint16_t half = f32_to_f16(best.scale * step / coded.scale);
    coded.row_scales[static_cast<size_t>(at)] = half;
    rotated.row(r) -= best.values * (f16_to_f32(half) * coded.scale / step);
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

void decode(ThreadPool& pool, uint64_t seed, const CodedRows& coded, int64_t first, Matrix& rows) {
  const DType dtype = trellis_type(coded.bits);
  TrellisCode code = default_trellis(dtype).code;
  code.scale = coded.scale;
  for_items(pool, (rows.rows() + kTrellisRows - 1) / kTrellisRows, [&](int64_t s) {
    const uint8_t* superrow =
        coded.bytes.data() + (first / kTrellisRows + s) * trellis_superrow_bytes(dtype, rows.cols());
    for (int64_t r = s * kTrellisRows; r < std::min(rows.rows(), (s + 1) * kTrellisRows); ++r)
      decode_trellis_row(dtype, code, superrow, static_cast<int>(r % kTrellisRows), rows.cols(),
                         rows.row(r).data());
  });
  unrotate_rows(pool, seed, rows);
}

}  // namespace nutshell::compress
