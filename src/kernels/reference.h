// Slow double-precision twins of every kernel: the oracle of the tests. L2. Straight loops from the
// definitions, no SIMD, no cleverness; nothing here shares code with what it checks, but for half.h and the
// format decoders.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/route.h"
#include "kernels/rows.h"

namespace nutshell::reference {

using Row = std::vector<double>;

// The values that 8-bit activations stand for: per 32 columns d = amax / 127 in f32, codes rounded to
// nearest.
Row quantized(const Row& x);
// y[i] = sum_k w[i][k] x[k] + bias[i]; w: n_rows x n_cols row by row.
Row linear(std::span<const float> w, int64_t n_rows, int64_t n_cols, const Row& x,
           std::span<const float> bias);
// R x, or R^T x: the rotation of kernels/rotate.h as a dense matrix.
Row rotate(const Row& x, uint64_t seed, bool back);
Row rms_norm(const Row& x, std::span<const float> weight, int64_t group, double eps);
Row layer_norm(const Row& x, std::span<const float> weight, std::span<const float> bias, double eps);
double silu(double x);
double gelu_tanh(double x);
double gelu_erf(double x);
Row gated(Gate g, const Row& gate, const Row& up);  // up may be empty, but for swiglu_clamped
// The experts of one token, ascending, and their weights (backend/op.h, Router).
struct Routing {
  std::vector<int64_t> experts;
  Row weights;
};
Routing route(const RouterShape& r, const Row& logits, std::span<const float> selection_bias);
Row rope(const Row& x, RotaryPairs pairs, std::span<const double> inv_freq, double magnitude,
         int64_t position, int64_t n_rot, int64_t n_head, int64_t head_dim, int64_t offset = 0);

struct Attention {
  int64_t n_head, n_head_kv, head_dim, head_dim_v;
  double scale;
  int64_t window;
  double softcap;
  std::span<const float> sinks;  // per head, or empty
};
// One query token at `position` over keys [position][n_head_kv * head_dim] and values [position][n_head_kv *
// head_dim_v], as kept by the cache.
Row attend(const Attention& a, const Row& q, const std::vector<Row>& keys, const std::vector<Row>& values,
           int64_t position);
// What the cache keeps of a token's keys or values (attention.h): per head, codes times a scale.
Row kv_row(const Row& x, int64_t head_dim);

}  // namespace nutshell::reference
