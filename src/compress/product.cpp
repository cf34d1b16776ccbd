#include "compress/product.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "compress/avx2.h"

namespace nutshell::compress {
namespace {

// A tile of c in registers: kRows x 2 vectors, of the 16 that there are; rows of b come in strips of kStrip.
#if defined(__wasm__)
constexpr int kLanes = 4, kRows = 4;
#else
constexpr int kLanes = 8, kRows = 6;
#endif
constexpr int kStrip = 2 * kLanes;
constexpr int64_t kDepth = 256;  // columns of a that are summed before c is touched
typedef float Lanes __attribute__((vector_size(4 * kLanes)));

struct Tile {
  float sums[kRows * kStrip];
};

// Sums over n columns of a and as many rows of a strip of b. Packed: kRows values of a column lie side by
// side.
template <bool kPacked>
NUTSHELL_AVX2 void sum_tile(const float* a, int64_t row_step, const float* strip, int64_t n, Tile& tile) {
  Lanes s[kRows][2] = {};
  for (int64_t k = 0; k < n; ++k) {
    Lanes b0, b1;
    std::memcpy(&b0, strip + k * kStrip, sizeof b0);
    std::memcpy(&b1, strip + k * kStrip + kLanes, sizeof b1);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const float x = kPacked ? a[k * kRows + i] : a[i * row_step + k];
      s[i][0] += x * b0;
      s[i][1] += x * b1;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) std::memcpy(tile.sums + i * kStrip, s[i], sizeof s[i]);
}

void add_tile(const Tile& tile, int64_t rows, int64_t cols, int64_t step, float* c) {
  if (cols == kStrip) {  // of a known length: vectors
    for (int64_t i = 0; i < rows; ++i)
      for (int j = 0; j < kStrip; ++j) c[i * step + j] += tile.sums[i * kStrip + j];
    return;
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) c[i * step + j] += tile.sums[i * kStrip + j];
}

// Rows [first, first + kRows) of n columns from `at`, column by column; zeros where there are none.
void pack_rows_of(const Strided& a, int64_t first, int64_t at, int64_t n, float* out) {
  const int64_t rows = std::min<int64_t>(kRows, a.rows - first);
  const float* from = a.data + first * a.row_step + at * a.col_step;
  for (int64_t k = 0; k < n; ++k, out += kRows, from += a.col_step)
    for (int64_t i = 0; i < kRows; ++i) out[i] = i < rows ? from[i * a.row_step] : 0.0f;
}

// A strip: n rows from `at` of columns [first, first + kStrip).
void pack_strip(const Strided& b, int64_t at, int64_t n, int64_t first, float* out) {
  const int64_t cols = std::min<int64_t>(kStrip, b.cols - first);
  const float* from = b.data + at * b.row_step + first * b.col_step;
  if (b.col_step == 1) {
    for (int64_t k = 0; k < n; ++k, out += kStrip, from += b.row_step) {
      if (cols < kStrip) std::fill_n(out, kStrip, 0.0f);
      std::copy_n(from, cols, out);
    }
    return;
  }
  if (cols < kStrip) std::fill_n(out, n * kStrip, 0.0f);
  for (int64_t j = 0; j < cols; ++j)
    for (int64_t k = 0; k < n; ++k) out[k * kStrip + j] = from[j * b.col_step + k * b.row_step];
}

}  // namespace

void add_product(const Strided& a, const Strided& b, Eigen::Ref<Matrix, 0, Eigen::OuterStride<>> c) {
  const int64_t tiles = (a.rows + kRows - 1) / kRows, depth = std::min(kDepth, a.cols);
  const int64_t whole = a.col_step == 1 ? a.rows / kRows : 0;  // tiles whose rows are read where they lie
  std::vector<float> strip(static_cast<size_t>(depth * kStrip));
  std::vector<float> packed(static_cast<size_t>((tiles - whole) * kRows * depth));
  Tile tile;
  for (int64_t at = 0; at < a.cols; at += depth) {
    const int64_t n = std::min(depth, a.cols - at);
    const auto packed_tile = [&](int64_t i) { return packed.data() + (i - whole) * kRows * n; };
    for (int64_t i = whole; i < tiles; ++i) pack_rows_of(a, i * kRows, at, n, packed_tile(i));
    for (int64_t first = 0; first < b.cols; first += kStrip) {
      pack_strip(b, at, n, first, strip.data());
      for (int64_t i = 0; i < tiles; ++i) {
        if (i < whole) {
          sum_tile<false>(a.data + i * kRows * a.row_step + at, a.row_step, strip.data(), n, tile);
        } else {
          sum_tile<true>(packed_tile(i), 0, strip.data(), n, tile);
        }
        add_tile(tile, std::min<int64_t>(kRows, a.rows - i * kRows),
                 std::min<int64_t>(kStrip, b.cols - first), c.outerStride(),
                 c.data() + i * kRows * c.outerStride() + first);
      }
    }
  }
}

NUTSHELL_AVX2 void add_rows(std::span<const float> by, std::span<const float* const> rows, int64_t n,
                            float* out) {
  size_t i = 0;
  for (; i + 4 <= by.size(); i += 4) {
    const float *a = rows[i], *b = rows[i + 1], *c = rows[i + 2], *d = rows[i + 3];
    const float x = by[i], y = by[i + 1], z = by[i + 2], w = by[i + 3];
    for (int64_t k = 0; k < n; ++k) out[k] = out[k] + x * a[k] + y * b[k] + z * c[k] + w * d[k];
  }
  for (; i < by.size(); ++i)
    for (int64_t k = 0; k < n; ++k) out[k] += by[i] * rows[i][k];
}

void add_rows(std::span<const float> by, const float* rows, int64_t step, int64_t n, float* out) {
  std::array<const float*, 64> places;
  for (size_t i = 0; i < by.size(); i += places.size()) {
    const size_t m = std::min(places.size(), by.size() - i);
    for (size_t j = 0; j < m; ++j) places[j] = rows + static_cast<int64_t>(i + j) * step;
    add_rows(by.subspan(i, m), std::span(places).first(m), n, out);
  }
}

}  // namespace nutshell::compress
