// The trellis kernels and the rotation against their double-precision twins.
#include "kernels/trellis.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/rng.h"
#include "kernels/matmul.h"
#include "kernels/pack.h"
#include "kernels/reference.h"
#include "kernels/rotate.h"
#include "support/kernel_memory.h"
#include "support/trellis_weights.h"

using namespace nutshell;
using namespace nutshell::test;

namespace {

constexpr double kEps = 0x1p-24;

struct Products {
  std::vector<float> x, bias;
  std::vector<reference::Row> wanted, bounds;
};

// Every slice adds one rounded product to a sum of at most (largest code) d sum |x|, then the zero point's
// part of the same size is taken off: n / 32 + 8 roundings of terms twice that large.
Products make_products(const TrellisMatrix& m, int64_t n_tokens, bool extremes) {
  Products p;
  for (uint64_t i = 0; i < static_cast<uint64_t>(m.n_rows); ++i) p.bias.push_back(uniform_pm1(17, i));
  for (uint64_t i = 0; i < static_cast<uint64_t>(n_tokens * m.n_cols); ++i)
    p.x.push_back(extremes ? (i / 32 % 2 == 0 ? 2.0f : -2.0f) : 3 * uniform_pm1(19, i));
  for (int64_t t = 0; t < n_tokens; ++t) {
    const auto row = p.x.begin() + t * m.n_cols;
    const reference::Row q = reference::quantized({row, row + m.n_cols});
    p.wanted.push_back(reference::linear(m.values, m.n_rows, m.n_cols, q, p.bias));
    double sum = 0;
    for (double v : q) sum += std::fabs(v);
    p.bounds.emplace_back();
    for (int64_t r = 0; r < m.n_rows; ++r) {
      const double d = std::fabs(static_cast<double>(
          trellis_row_scale(m.code, m.bytes.data() + r / 16 * trellis_superrow_bytes(m.dtype, m.n_cols),
                            static_cast<int>(r % 16))));
      p.bounds.back().push_back(kEps * (static_cast<double>(m.n_cols) / 32 + 8) * 2 * trellis_max(m.dtype) *
                                    d * sum +
                                4 * kEps * 4);
    }
  }
  return p;
}

}  // namespace

TEST_CASE("trellis: matvec and matmul in every form") {
  for (const DTypeInfo& info : kTrellisTypes)
    for (int64_t n_cols : {32, 96, 576})
      for (int64_t n_rows : {1, 16, 17, 40}) {
        const TrellisMatrix m =
            random_trellis(info.dtype, n_rows, n_cols, static_cast<uint64_t>(n_rows), 1.0);
        Guarded weights(m.bytes.size());
        const int64_t one = trellis_superrow_bytes(info.dtype, n_cols), n_super = (n_rows + 15) / 16;
        REQUIRE(*packed_bytes(info.dtype, n_rows, n_cols) == m.bytes.size());
        for (int64_t s = 0; s < n_super; ++s)
          REQUIRE(
              pack_superrow(info.dtype, m.bytes.data() + s * one, 16, n_cols, weights.data() + s * one).ok());
        CHECK(weights.intact());
        const PackedMatrix w{info.dtype, n_rows, n_cols, weights.data(), one, &m.code};
        for (int64_t n_tokens : {1, 5, 130}) {
          const Products p = make_products(m, n_tokens, n_tokens == 5);
          for (Dot dot : all_dots()) {
            INFO(info.name << " " << n_rows << " x " << n_cols << ", " << n_tokens << " tokens, form "
                           << static_cast<int>(dot));
            Guarded y(static_cast<size_t>(n_tokens * n_rows) * 4), one_row(ActRow::bytes_needed(n_cols));
            const ActRow row = ActRow::at(one_row.data(), n_cols);
            const auto check = [&](float start) {
              for (int64_t t = 0; t < n_tokens; ++t)
                for (int64_t r = 0; r < n_rows; ++r) {
                  const auto st = static_cast<size_t>(t), sr = static_cast<size_t>(r);
                  const double error = std::fabs(static_cast<double>(y.floats()[t * n_rows + r]) -
                                                 static_cast<double>(start) - p.wanted[st][sr]);
                  REQUIRE(error <= p.bounds[st][sr] + 2 * kEps * std::fabs(p.wanted[st][sr]));
                }
              CHECK(y.intact());
            };
            for (int64_t t = 0; t < n_tokens; ++t) {
              quantize_row(p.x.data() + t * n_cols, n_cols, matvec_forms(info.dtype, dot), row);
              matvec(w, row, dot, p.bias.data(), false, y.floats() + t * n_rows, 0, n_super);
            }
            check(0);
            Guarded tiles_room(ActTiles::bytes_needed(n_cols, n_tokens));
            Guarded scratch(matmul_scratch_bytes(info.dtype, n_cols));
            const ActTiles tiles = ActTiles::at(tiles_room.data(), n_cols, n_tokens);
            for (int64_t t = 0; t < n_tokens; ++t)
              quantize_to_tiles(p.x.data() + t * n_cols, t, matmul_forms(info.dtype, dot), row, tiles);
            for (int64_t t = n_tokens; t % 4 != 0; ++t) clear_in_tiles(t, tiles);
            std::fill_n(y.floats(), n_tokens * n_rows, 2.0f);
            matmul(w, tiles, n_tokens, dot, {y.floats(), n_rows, p.bias.data(), true}, 0, n_super,
                   scratch.data());
            check(2);
            CHECK(scratch.intact());
            CHECK(tiles_room.intact());
          }
        }
      }
}

TEST_CASE("trellis: scales that are no numbers are refused") {
  TrellisMatrix m = random_trellis(DType::nt3, 16, 64, 3, 1.0);
  std::vector<uint8_t> out(m.bytes.size());
  for (uint16_t bad : {uint16_t{0x7c00}, uint16_t{0xfc00}, uint16_t{0x7e01}}) {
    std::memcpy(m.bytes.data() + 30, &bad, 2);
    CHECK(pack_superrow(DType::nt3, m.bytes.data(), 16, 64, out.data()).code() == ErrorCode::corrupt_file);
  }
  CHECK_FALSE(packed_bytes(DType::nt3, 16, 33).has_value());
}

TEST_CASE("rotation: the dense matrix's product, and back again") {
  for (int64_t n : {1, 2, 3, 6, 32, 64, 96, 576, 640, 1536}) {
    const Rotation r = make_rotation(n, 99);
    CHECK(r.m * r.p == n);
    std::vector<float> x, y(static_cast<size_t>(n));
    for (uint64_t i = 0; i < static_cast<uint64_t>(n); ++i) x.push_back(uniform_pm1(7, i));
    rotate_row(r, x.data(), y.data());
    const reference::Row wanted = reference::rotate({x.begin(), x.end()}, 99, false);
    double norm = 0;
    for (float v : x) norm += static_cast<double>(v) * static_cast<double>(v);
    // log2 p stages and m terms, each rounding values whose norm is that of x; the tables are rounded too.
    const double bound =
        kEps * (std::log2(static_cast<double>(r.p)) + static_cast<double>(r.m) + 4) * std::sqrt(norm);
    for (size_t i = 0; i < y.size(); ++i) REQUIRE(std::fabs(static_cast<double>(y[i]) - wanted[i]) <= bound);
    rotate_back(r, y.data());
    for (size_t i = 0; i < y.size(); ++i)
      REQUIRE(std::fabs(static_cast<double>(y[i]) - static_cast<double>(x[i])) <= 2 * bound);
    const reference::Row back = reference::rotate(wanted, 99, true);
    for (size_t i = 0; i < y.size(); ++i) REQUIRE(std::fabs(back[i] - static_cast<double>(x[i])) <= 1e-12);
  }
}
