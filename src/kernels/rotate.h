// The rotation that trellis-coded weights are stored under: x' = R x with R = (Q (x) H) diag(s). L2. It makes
// weights look Gaussian, which is what the code's tables are for; y = W x = (W R^T) (R x).
//
// n = m p with p the largest power of two dividing n; column c = a p + b. s: signs, minus where the top bit
// of counter_rng(seed, c) is set. H: the p x p Walsh-Hadamard matrix in natural order over sqrt p, on b. Q:
// the m x m Hartley matrix (cos 2 pi j k / m + sin 2 pi j k / m) / sqrt m, on a. H and Q are symmetric and
// orthogonal, so the inverse is the same with the signs last. The sums grow by about log2 p + m roundings.
#pragma once

#include <cstdint>
#include <vector>

namespace nutshell {

inline constexpr int64_t kMaxRotationOdd = 255;  // largest m

// The odd part m of n.
constexpr int64_t rotation_odd(int64_t n) {
  while (n > 0 && n % 2 == 0) n /= 2;
  return n;
}

struct Rotation {
  int64_t n = 0, m = 0, p = 0;
  std::vector<float> signs;  // n, with 1 / sqrt p
  std::vector<float> q;      // m x m
};

// Precondition: n > 0, rotation_odd(n) <= kMaxRotationOdd.
Rotation make_rotation(int64_t n, uint64_t seed);
// out = R in; in == out is allowed.
void rotate_row(const Rotation& r, const float* in, float* out);
// x = R^T x
void rotate_back(const Rotation& r, float* x);

}  // namespace nutshell
