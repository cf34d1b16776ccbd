#include "compress/rotation.h"

#include <cmath>

#include "base/rng.h"
#include "compress/items.h"

namespace nutshell::compress {
namespace {

struct Transform {
  int64_t n, m, p;
  Vector signs;
  Matrix q;

  Transform(uint64_t seed, int64_t columns) : n(columns), m(columns), p(1), signs(columns) {
    for (; m % 2 == 0; m /= 2) p *= 2;
    for (int64_t c = 0; c < n; ++c)
      signs(c) = counter_rng(seed, static_cast<uint64_t>(c)) >> 63 ? -1.0f : 1.0f;
    q.resize(m, m);
    for (int64_t j = 0; j < m; ++j)
      for (int64_t k = 0; k < m; ++k) {
        const double a = 2 * 3.14159265358979323846 * static_cast<double>(j * k % m) / static_cast<double>(m);
        q(j, k) = static_cast<float>((std::cos(a) + std::sin(a)) / std::sqrt(static_cast<double>(m)));
      }
  }

  // (Q x H) x, which is symmetric.
  void apply(float* x, Matrix& room) const {
    for (int64_t a = 0; a < n; a += p)
      for (int64_t h = 1; h < p; h *= 2)
        for (int64_t i = a; i < a + p; i += 2 * h)
          for (int64_t k = i; k < i + h; ++k) {
            const float u = x[k], v = x[k + h];
            x[k] = u + v;
            x[k + h] = u - v;
          }
    Eigen::Map<Matrix> blocks(x, m, p);
    const float by = 1.0f / std::sqrt(static_cast<float>(p));
    if (m == 1) {
      blocks *= by;
      return;
    }
    room.noalias() = q * blocks;
    blocks = room * by;
  }
};

void transform_rows(ThreadPool& pool, uint64_t seed, Matrix& x, bool inverse) {
  const Transform t(seed, x.cols());
  constexpr int64_t kRows = 32;
  for_items(pool, (x.rows() + kRows - 1) / kRows, [&](int64_t i) {
    Matrix room(t.m, t.p);
    for (int64_t r = i * kRows; r < std::min(x.rows(), (i + 1) * kRows); ++r) {
      if (!inverse) x.row(r) = x.row(r).cwiseProduct(t.signs);
      t.apply(x.row(r).data(), room);
      if (inverse) x.row(r) = x.row(r).cwiseProduct(t.signs);
    }
  });
}

}  // namespace

void rotate_rows(ThreadPool& pool, uint64_t seed, Matrix& x) { transform_rows(pool, seed, x, false); }
void unrotate_rows(ThreadPool& pool, uint64_t seed, Matrix& x) { transform_rows(pool, seed, x, true); }
void rotate_gram(ThreadPool& pool, uint64_t seed, Matrix& h) {
  rotate_rows(pool, seed, h);
  h.transposeInPlace();
  rotate_rows(pool, seed, h);
}

}  // namespace nutshell::compress
