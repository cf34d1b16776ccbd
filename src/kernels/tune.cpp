#include "kernels/tune.h"

#include <chrono>
#include <cstring>

#include "kernels/matvec.h"

namespace nutshell {
#if NUTSHELL_RELAXED
namespace {

using P = Packed<DType::q4_0>;
constexpr int64_t kCols = 512;
constexpr int64_t kSuperrows = 4;

// Best time of a few calls over a matrix that stays in the L1 cache.
double time_of(Dot dot, const PackedMatrix& w, const ActRow& x, float* y) {
  double best = 1e9;
  for (int round = 0; round < 12; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 8; ++i) matvec(w, x, dot, nullptr, false, y, 0, kSuperrows);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (took.count() < best) best = took.count();
  }
  return best;
}

Dot measure() {
  alignas(64) static uint8_t weights[kSuperrows * (kFactorBytes + kCols / kSlice * P::kSuperBytes)];
  alignas(64) static uint8_t row[kCols * 16];
  alignas(64) static float values[kCols];
  std::memset(weights, 0x35, sizeof(weights));
  for (int64_t i = 0; i < kCols; ++i) values[i] = static_cast<float>(i % 7) - 3.0f;
  const ActRow x = ActRow::at(row, kCols);
  quantize_row(values, kCols, kActBytes, x);
  const PackedMatrix w{DType::q4_0, kSuperrows * kSuperrow, kCols, weights, P::superrow_bytes(kCols)};
  float y[kSuperrows * kSuperrow];
  return time_of(Dot::quads, w, x, y) < time_of(Dot::pairs, w, x, y) ? Dot::quads : Dot::pairs;
}

}  // namespace

Dot best_dot() {
  static const Dot dot = measure();
  return dot;
}
#else
Dot best_dot() { return Dot::strict; }
#endif

}  // namespace nutshell
