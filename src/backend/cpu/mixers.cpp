// Steps of particular families: what multi-head latent attention does per head, and short convolutions.
#include <algorithm>
#include <cstring>

#include "backend/cpu/cpu_backend.h"

namespace nutshell::cpu {

void Execution::operator()(const CopyHeadsStep& s) {
  const auto [begin, end] = worker_.share(rows_of(s.op.in));
  for (int64_t t = begin; t < end; ++t)
    for (int64_t h = 0; h < s.op.n_head; ++h)
      std::memcpy(row(s.op.out, t) + s.op.out_offset + h * s.op.out_stride,
                  row(s.op.in, t) + s.op.in_offset + h * s.op.in_stride,
                  static_cast<size_t>(s.op.width) * sizeof(float));
}

// Items are (head, token), a head's tokens in a row, so that its matrix stays in the cache.
void Execution::operator()(const HeadLinearStep& s) {
  const Weight& w = weight(s.op.weight);
  const int64_t n = rows_of(s.op.in), rows = w.slice_rows(), n_cols = w.spec.n_cols;
  const ActRow q = ActRow::at(thread_, n_cols);
  const auto [begin, end] = worker_.share(n * s.op.n_head);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t h = item / n, t = item % n;
    const float* x = row(s.op.in, t) + h * s.op.in_stride;
    float* y = row(s.op.out, t) + h * s.op.out_stride;
    if (w.packed) {
      quantize_row(x, n_cols, matvec_forms(w.spec.dtype, b_.dot_), q);
      matvec(w.matrix(h), q, b_.dot_, nullptr, false, y, 0, (rows + kSuperrow - 1) / kSuperrow);
    } else {
      dense_matmul(w.dense(h), x, n_cols, 1, {y, rows, nullptr, false}, 0, rows,
                   reinterpret_cast<float*>(thread_ + b_.plan_.thread_work));
    }
  }
}

// Threads share the channels, so that each reads the state that it also writes.
void Execution::operator()(const ShortConvStep& s) {
  const ConvLayer& conv = b_.conv_[static_cast<size_t>(s.op.layer)];
  const int64_t width = s.op.width, kernel = s.op.kernel, reach = kernel - 1, past = step_.n_past;
  const auto [c0, c1] = worker_.share(width, 16);
  if (c0 == c1) return;
  const float* weights = vector(s.op.weight);
  const auto ring = [&](int64_t position) { return conv.ring + position % kConvRing * width; };
  const auto snapshot = [&](int64_t multiple, int64_t i) {  // y of position multiple * kConvRing - reach + i
    return conv.snapshots + ((multiple - 1) * reach + i) * width;
  };
  const size_t bytes = static_cast<size_t>(c1 - c0) * sizeof(float);
  if (past > 0 && past - b_.conv_reach() < b_.conv_from_)
    for (int64_t i = 0; i < reach; ++i)
      std::memcpy(ring(past - reach + i) + c0, snapshot(past / kConvRing, i) + c0, bytes);
  for (int64_t t = 0; t < n_tokens_; ++t) {
    const int64_t position = past + t;
    const float *b = row(s.op.in, t), *gate = b + width, *x = b + 2 * width;
    float *now = ring(position), *out = row(s.op.out, t);
    for (int64_t c = c0; c < c1; ++c) {
      now[c] = b[c] * x[c];
      out[c] = 0;
    }
    for (int64_t k = std::max<int64_t>(0, reach - position); k < kernel; ++k) {
      const float* y = ring(position - reach + k);
      for (int64_t c = c0; c < c1; ++c) out[c] += weights[c * kernel + k] * y[c];
    }
    for (int64_t c = c0; c < c1; ++c) out[c] *= gate[c];
    if (const int64_t next = position + 1; next % kConvRing == 0)
      for (int64_t i = 0; i < reach; ++i)
        std::memcpy(snapshot(next / kConvRing, i) + c0, ring(next - reach + i) + c0, bytes);
  }
}

}  // namespace nutshell::cpu
