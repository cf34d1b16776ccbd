// exp for probabilities: x <= 0, at most 2 units in the last place off, the same bits on every platform (the
// C library's exp differs between them, and a token drawn must not). Branch-free, so loops over it vectorise.
// Method: x = n ln 2 + r with |r| <= ln 2 / 2, Taylor polynomial of degree 13 (next term < 5e-18), exponent
// set by bits. ln 2 in two parts after fdlibm's e_exp.c.
#pragma once

#include <bit>
#include <cstdint>

namespace nutshell {

// Precondition: x <= 0 or x = -infinity. Below -700 (1e-304) the result is 0.
inline double exp_nonpositive(double x) {
  constexpr double kLog2e = 1.4426950408889634, kLn2High = 6.93147180369123816490e-01,
                   kLn2Low = 1.90821492927058770002e-10;
  constexpr double kRound = 0x1.8p52;  // adding it leaves the nearest integer in the low bits
  const double shifted = x * kLog2e + kRound;
  const double n = shifted - kRound;
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double p = 1.0 / 6227020800.0;  // 1 / 13!
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const double scale = std::bit_cast<double>((std::bit_cast<uint64_t>(shifted) + 1023) << 52);
  return x < -700.0 ? 0.0 : p * scale;
}

// Weight of a logit against the largest one; 1 for the largest itself, also when both are infinite.
inline double softmax_weight(double logit, double max_logit) {
  return logit == max_logit ? 1.0 : exp_nonpositive(logit - max_logit);
}

}  // namespace nutshell
