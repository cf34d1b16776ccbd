#include "compress/embedding.h"

#include <algorithm>
#include <cmath>

#include "base/rng.h"

namespace nutshell::compress {
namespace {

Vector pooled(const Matrix& tokens, Pooling pooling) {
  return pooling == Pooling::first ? Vector(tokens.row(0)) : Vector(tokens.colwise().mean());
}

float gaussian(uint64_t seed, uint64_t index) {
  constexpr double kTurn = 6.283185307179586;
  const double u = uniform_01(seed, 2 * index), v = uniform_01(seed, 2 * index + 1);
  return static_cast<float>(std::sqrt(-2 * std::log(1.0 - u)) * std::cos(kTurn * v));
}

}  // namespace

Vector text_vector(const Matrix& tokens, Pooling pooling) {
  const Vector sum = pooled(tokens, pooling);
  return sum / std::max(sum.norm(), 1e-12f);
}

void sample_vector_gradient(Matrix& tokens, Pooling pooling, uint64_t seed, uint64_t text) {
  const float norm = std::max(pooled(tokens, pooling).norm(), 1e-12f);
  const Vector v = text_vector(tokens, pooling);
  Vector u(v.size());
  for (int64_t i = 0; i < u.size(); ++i)
    u(i) = gaussian(seed, text * static_cast<uint64_t>(u.size()) + static_cast<uint64_t>(i));
  const Vector g = (u - v * u.dot(v)) / norm;
  if (pooling == Pooling::first) {
    tokens.setZero();
    tokens.row(0) = g;
  } else {
    const auto n = static_cast<float>(tokens.rows());
    tokens.rowwise() = Vector(g / n);
  }
}

}  // namespace nutshell::compress
