// Mathematics of the compressor whose results have the same bits natively and in wasm, so that the tab makes
// the file that the native tool makes. L5. C libraries differ in the last bit of exp, and one bit is enough
// for other codes. Eigen computes exp of four lanes by one polynomial everywhere, but leaves what is not
// aligned to the C library: hence four lanes at a time here, the missing ones filled up. matrix.h says what
// else this needs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "compress/matrix.h"

namespace nutshell::compress {

using Four = Eigen::Array<float, 4, 1>;

// n values (at most 4), zeros behind them.
inline Four load_four(const float* x, int64_t n) {
  Four v = Four::Zero();
  std::copy_n(x, std::min<int64_t>(n, 4), v.data());
  return v;
}
inline void store_four(const Four& v, int64_t n, float* x) {
  std::copy_n(v.data(), std::min<int64_t>(n, 4), x);
}

inline Four exp_four(const Four& x) { return x.exp(); }
inline Four tanh_four(const Four& x) { return 1.0f - 2.0f / (exp_four(2.0f * x) + 1.0f); }
// By the double of the C libraries, whose differences do not reach a float but once in some 10^9.
inline Four erf_four(const Four& x) {
  return x.unaryExpr([](float v) { return static_cast<float>(std::erf(static_cast<double>(v))); });
}

// row[i] = fn(row[i], ...), four at a time.
template <typename Fn>
void map_fours(std::span<float> row, Fn&& fn) {
  for (size_t i = 0; i < row.size(); i += 4) {
    const auto left = static_cast<int64_t>(row.size() - i);
    store_four(fn(load_four(&row[i], left)), left, &row[i]);
  }
}

// Probabilities of logits, in place.
inline void softmax(std::span<float> row) {
  Eigen::Map<Vector> x(row.data(), static_cast<int64_t>(row.size()));
  const float most = x.maxCoeff();
  map_fours(row, [&](const Four& v) { return exp_four(v - most); });
  x /= x.sum();
}

}  // namespace nutshell::compress
