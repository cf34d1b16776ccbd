#include "kernels/tune.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "kernels/matmul.h"

namespace nutshell {
#if NUTSHELL_RELAXED
namespace {

#ifdef __wasm__
constexpr bool kCompiledAhead = false;
#else
constexpr bool kCompiledAhead = true;
#endif
using P = Packed<DType::q4_0>;
constexpr int64_t kCols = 512, kSuperrows = 2, kRows = kSuperrows * kSuperrow, kTokens = 8;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The prefill path over a matrix that stays in the L1 cache: it is bound by these instructions, the decode
// path by memory.
struct Probe {
  alignas(64) uint8_t weights[kSuperrows * (kFactorBytes + kCols / kSlice * P::kSuperBytes)];
  alignas(64) uint8_t row[kCols * 16];
  alignas(64) uint8_t tiles[kCols * 4 * kTokens];
  alignas(64) uint8_t scratch[kCols * 32];
  alignas(64) float values[kCols];
  alignas(64) float pairs[kTokens * kRows], quads[kTokens * kRows];
};

// Calls per second, over at least a millisecond: a page that is not isolated has a clock of 0.1 ms.
double rate_of(Dot dot, const PackedMatrix& w, const ActTiles& x, Probe& probe) {
  const MatmulOut out{dot == Dot::pairs ? probe.pairs : probe.quads, kRows, nullptr, false};
  const double start = now();
  for (int calls = 8;; calls += 8) {
    for (int i = 0; i < 8; ++i) matmul(w, x, kTokens, dot, out, 0, kSuperrows, probe.scratch);
    if (const double took = now() - start; took > 1e-3 || calls > 100000) return calls / (took + 1e-9);
  }
}

struct Setup {
  PackedMatrix w;
  ActTiles x;
  Probe* probe = nullptr;  // null: the kernels need more room than there is
};

Setup set_up() {
  static Probe probe;
  if (ActRow::bytes_needed(kCols) > sizeof(probe.row) ||
      ActTiles::bytes_needed(kCols, kTokens) > sizeof(probe.tiles) ||
      matmul_scratch_bytes(DType::q4_0, kCols) > sizeof(probe.scratch))
    return {};
  std::memset(probe.weights, 0x35, sizeof(probe.weights));  // as an f16 scale 0.33
  for (int64_t r = 0; r < kSuperrows; ++r)
    for (int64_t b = 0; b < kCols / kSlice; ++b)
      for (int64_t i = P::kHeadBytes; i < P::kSuperBytes; ++i)
        probe.weights[r * P::superrow_bytes(kCols) + kFactorBytes + b * P::kSuperBytes + i] =
            static_cast<uint8_t>(29 * i + 7 * b);
  const ActTiles x = ActTiles::at(probe.tiles, kCols, kTokens);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t i = 0; i < kCols; ++i) probe.values[i] = static_cast<float>((i * (t + 3)) % 255 - 127);
    quantize_to_tiles(probe.values, t, kActBytes, ActRow::at(probe.row, kCols), x);
  }
  return {{DType::q4_0, kRows, kCols, probe.weights, P::superrow_bytes(kCols)}, x, &probe};
}

Dot measure() {
  const Setup s = set_up();
  if (s.probe == nullptr) return Dot::pairs;
  // In turns, the best of each. A browser's optimising compiler comes after some ten milliseconds, to one
  // form earlier than to the other, and makes it several times faster: rounds go on until it has been to both
  // (or, where it had come before, for a tenth of a second) and neither has gained for a while.
  constexpr int kRounds = 50, kSettled = 8;
  double pairs = 0, quads = 0, first_pairs = 0, first_quads = 0;
  bool same = true, compiled = false;
  for (int round = 0, gained = 0; round < kRounds && !(compiled && round - gained >= kSettled); ++round) {
    const double p = rate_of(Dot::pairs, s.w, s.x, *s.probe), q = rate_of(Dot::quads, s.w, s.x, *s.probe);
    if (p > 1.05 * pairs || q > 1.05 * quads) gained = round;
    if (round == 0) {
      first_pairs = p;
      first_quads = q;
    }
    pairs = std::max(pairs, p);
    quads = std::max(quads, q);
    compiled = kCompiledAhead || (pairs > 1.5 * first_pairs && quads > 1.5 * first_quads);
    same &= std::memcmp(s.probe->pairs, s.probe->quads, sizeof(s.probe->pairs)) == 0;
  }
  return same && quads > 1.03 * pairs ? Dot::quads : Dot::pairs;
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
