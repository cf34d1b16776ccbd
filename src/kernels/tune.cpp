#include "kernels/tune.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "kernels/matvec.h"

namespace nutshell {
#if NUTSHELL_RELAXED
namespace {

using P = Packed<DType::q4_0>;
constexpr int64_t kCols = 512;
constexpr int64_t kSuperrows = 4;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Calls per second over a matrix that stays in the L1 cache, over at least a millisecond: a page that is not
// isolated has a clock of 0.1 ms.
double rate_of(Dot dot, const PackedMatrix& w, const ActRow& x, float* y) {
  const double start = now();
  for (int calls = 8;; calls += 8) {
    for (int i = 0; i < 8; ++i) matvec(w, x, dot, nullptr, false, y, 0, kSuperrows);
    if (const double took = now() - start; took > 1e-3 || calls > 100000) return calls / (took + 1e-9);
  }
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
  // In turns, the best of each: the first rounds also give the browser's optimising compiler time to arrive.
  double pairs = 0, quads = 0;
  for (int round = 0; round < 5; ++round) {
    pairs = std::max(pairs, rate_of(Dot::pairs, w, x, y));
    quads = std::max(quads, rate_of(Dot::quads, w, x, y));
  }
  return quads > 1.05 * pairs ? Dot::quads : Dot::pairs;
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
