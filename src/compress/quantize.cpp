#include "compress/quantize.h"

#include <algorithm>
#include <array>
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

// The codes of a row at a unit of the tables' step.
struct Try {
  float unit = 0;
  std::vector<uint8_t> codes;
  Vector values;  // what they say
  Vector left;    // of the row in the metric, in the same unit
};

void code_row(TrellisEncoder& encoder, const Vector& row, float unit, Try& out) {
  const auto size = static_cast<size_t>(row.size());
  const Vector scaled = row / unit;
  out.unit = unit;
  encoder.encode({scaled.data(), size}, out.codes, {out.values.data(), size}, {out.left.data(), size});
}

// Which of a row's tries is the one, with the scale that is best for it in the metric.
struct Choice {
  const Try* code = nullptr;  // none: a row of zeros
  float scale = 0;
  double error = 1e300;  // in the metric
};

// With y = row M, the sum d (t - a q)^2 is least at a = <t, q> / <q, q>.
void consider(const Try& code, const Vector& in_metric, const MetricFactor& inputs, Choice& best) {
  const Vector t = in_metric / code.unit, q = t - code.left;
  const Eigen::Map<const Vector> d(inputs.d.data(), t.size());
  const Vector dq = q.cwiseProduct(d);
  const float a = std::clamp(dq.dot(t) / std::max(dq.dot(q), 1e-30f), 0.7f, 1.5f);
  const Vector left = (t - a * q) * code.unit;
  const auto error = static_cast<double>(left.cwiseProduct(left).dot(d));
  if (error < best.error) best = {&code, code.unit * a, error};
}

// Columns [begin, end) of `row` and what the errors of the rows before it leave them to aim at.
void add_feedback(const RowFactor& outputs, int64_t row, const Matrix& errors, int64_t begin, int64_t end,
                  Vector& target) {
  const auto [b, place] = outputs.places[static_cast<size_t>(row)];
  const RowFactor::Block& block = outputs.blocks[static_cast<size_t>(b)];
  std::vector<float> by(static_cast<size_t>(place));
  std::vector<const float*> rows(by.size());
  for (size_t i = 0; i < by.size(); ++i) {
    by[i] = block.m(static_cast<int64_t>(i), place);
    rows[i] = errors.row(block.rows[i]).data() + begin;
  }
  add_rows(by, rows, end - begin, target.data() + begin);
}

// What the threads that code rows together share.
struct RowsAtWork {
  const MetricFactor& inputs;
  const RowFactor* outputs;
  int64_t begin, end;
  Matrix& rotated;
  CodedMatrix& coded;
  Vector target, in_metric;  // of the row at work
  std::array<Try, kTries> tries;
};

// The row's codes and its error, out of its tries; `tried`: it has some.
void take_best(RowsAtWork& work, int64_t r, bool tried) {
  CodedMatrix& coded = work.coded;
  const float step = default_trellis(trellis_type(coded.bits)).step;
  Choice best;
  if (tried)
    for (const Try& each : work.tries) consider(each, work.in_metric, work.inputs, best);
  const int64_t at = r - coded.first_row, n = work.target.size();
  const uint16_t half = f32_to_f16(best.scale * step / coded.scale);
  coded.row_scales[static_cast<size_t>(at)] = half;
  if (best.code == nullptr) return;  // its codes are zeros
  std::copy(best.code->codes.begin(), best.code->codes.end(), coded.codes.begin() + at * n);
  work.rotated.row(r) -= best.code->values * (f16_to_f32(half) * coded.scale / step);
}

// Every thread of a run calls it. A row's tries are what they share out; rows wait for each other.
void code_rows(Worker& worker, RowsAtWork& work) {
  const int64_t n = work.rotated.cols();
  const int bits = work.coded.bits;
  TrellisEncoder encoder(bits, work.inputs);
  const Worker::Range mine = worker.share(n, 8);
  for (int64_t r = work.begin; r < work.end; ++r) {
    const int64_t width = mine.end - mine.begin;
    work.target.segment(mine.begin, width) = work.rotated.row(r).segment(mine.begin, width);
    if (work.outputs != nullptr)
      add_feedback(*work.outputs, r, work.rotated, mine.begin, mine.end, work.target);
    worker.barrier();
    float sigma = std::sqrt(work.target.squaredNorm() / static_cast<float>(n));
    if (sigma <= 1e-20f) sigma = 0;
    if (worker.thread() == worker.n_threads() - 1) work.in_metric = multiply(work.target, work.inputs);
    for (int i = worker.thread(); sigma > 0 && i < kTries; i += worker.n_threads())
      code_row(encoder, work.target, kScales[bits - kMinTrellisBits][i] * sigma,
               work.tries[static_cast<size_t>(i)]);
    worker.barrier();
    if (worker.thread() == 0) take_best(work, r, sigma > 0);
    worker.barrier();
  }
}

}  // namespace

double coding_error(int bits) {
  constexpr double kErrors[] = {0.0861, 0.0229, 0.0069};
  return kErrors[bits - kMinTrellisBits];
}

double quantize_speedup(int n_threads) {
  const int turns = (kTries + n_threads - 1) / n_threads;
  return static_cast<double>(kTries) / turns;
}

void quantize_rows(const MetricFactor& inputs, const RowFactor* outputs, int64_t begin, int64_t end,
                   Matrix& rotated, CodedMatrix& coded, ThreadPool* pool) {
  const int64_t n = rotated.cols();
  RowsAtWork work{inputs, outputs, begin, end, rotated, coded, Vector(n), {}, {}};
  for (Try& each : work.tries) each = {0, std::vector<uint8_t>(static_cast<size_t>(n)), Vector(n), Vector(n)};
  if (pool != nullptr) return pool->run([&](Worker& worker) { code_rows(worker, work); });
  Worker alone;
  code_rows(alone, work);
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
