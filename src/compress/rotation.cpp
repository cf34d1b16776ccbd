#include "compress/rotation.h"

#include "compress/items.h"
#include "kernels/rotate.h"

namespace nutshell::compress {
namespace {

template <typename Turn>
void turn_rows(ThreadPool& pool, uint64_t seed, Matrix& x, Turn&& turn) {
  const Rotation rotation = make_rotation(x.cols(), seed);
  constexpr int64_t kRows = 32;
  for_items(pool, (x.rows() + kRows - 1) / kRows, [&](int64_t i) {
    for (int64_t r = i * kRows; r < std::min(x.rows(), (i + 1) * kRows); ++r) turn(rotation, x.row(r).data());
  });
}

}  // namespace

void rotate_rows(ThreadPool& pool, uint64_t seed, Matrix& x) {
  turn_rows(pool, seed, x, [](const Rotation& r, float* row) { rotate_row(r, row, row); });
}
void unrotate_rows(ThreadPool& pool, uint64_t seed, Matrix& x) {
  turn_rows(pool, seed, x, [](const Rotation& r, float* row) { rotate_back(r, row); });
}

}  // namespace nutshell::compress
