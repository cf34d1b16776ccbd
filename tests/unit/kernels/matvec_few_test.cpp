// A few rows at once give the bits that each gives alone, in every format and form.
#include "kernels/matvec_few.h"

#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "base/rng.h"
#include "kernels/pack.h"
#include "support/kernel_memory.h"
#include "support/trellis_weights.h"
#include "unit/kernels/random_weights.h"

using namespace nutshell;
using namespace nutshell::test;

namespace {

void check_rows(const PackedMatrix& m) {
  std::vector<float> x(static_cast<size_t>(m.n_cols * kFewTokens)), bias;
  for (uint64_t i = 0; i < x.size(); ++i) x[i] = 3 * uniform_pm1(19, i);
  for (int64_t i = 0; i < m.n_cols; ++i) x[static_cast<size_t>(i)] = i % 32 < 16 ? 2.0f : -2.0f;  // extremes
  for (uint64_t i = 0; i < static_cast<uint64_t>(m.n_rows); ++i) bias.push_back(uniform_pm1(17, i));
  const int64_t n_super = (m.n_rows + 15) / 16, stride = m.n_rows + 3;
  for (Dot dot : all_dots()) {
    const size_t one = (ActRow::bytes_needed(m.n_cols) + 63) / 64 * 64;
    Guarded memory(one * kFewTokens);
    ActRow rows[kFewTokens];
    for (int64_t t = 0; t < kFewTokens; ++t) {
      rows[t] = ActRow::at(memory.data() + static_cast<size_t>(t) * one, m.n_cols);
      quantize_row(&x[static_cast<size_t>(t * m.n_cols)], m.n_cols, matvec_forms(m.dtype, dot), rows[t]);
    }
    for (bool accumulate : {false, true}) {
      std::vector<float> wanted(static_cast<size_t>(stride * kFewTokens), 0.5f), start = wanted;
      for (int64_t t = 0; t < kFewTokens; ++t)
        matvec(m, rows[t], dot, bias.data(), accumulate, &wanted[static_cast<size_t>(t * stride)], 0,
               n_super);
      for (int64_t n = 1; n <= kFewTokens; ++n) {
        std::vector<float> y = start;
        matvec_few(m, rows, n, dot, bias.data(), accumulate, y.data(), stride, 0, n_super);
        INFO(name_of(m.dtype) << " " << m.n_rows << " x " << m.n_cols << ", " << n << " rows, form "
                              << static_cast<int>(dot));
        REQUIRE(std::memcmp(y.data(), wanted.data(), static_cast<size_t>(n * stride) * 4) == 0);
        for (size_t i = static_cast<size_t>(n * stride); i < y.size(); ++i) REQUIRE(y[i] == 0.5f);
      }
    }
  }
}

}  // namespace

TEST_CASE("a few rows times a packed matrix: the bits of one at a time") {
  for (const DTypeInfo& info : kDTypes) {
    if (!has_packed(info.dtype)) continue;
    for (int64_t n_rows : {16, 23}) {
      const int64_t n_cols = info.block_length == 256 ? 768 : 96, in = row_bytes(info.dtype, n_cols);
      const auto rows = random_rows(info.dtype, n_rows, n_cols, 5, n_rows == 23 ? 1e-6 : 1.0);
      Guarded memory(static_cast<size_t>(*packed_bytes(info.dtype, n_rows, n_cols)));
      const int64_t one = static_cast<int64_t>(*packed_bytes(info.dtype, 1, n_cols));
      for (int64_t r = 0; r < n_rows; r += 16)
        REQUIRE(pack_superrow(info.dtype, rows.data() + r * in,
                              static_cast<int>(std::min<int64_t>(16, n_rows - r)), n_cols,
                              memory.data() + r / 16 * one)
                    .ok());
      check_rows({info.dtype, n_rows, n_cols, memory.data(), one});
    }
  }
}

TEST_CASE("a few rows times a trellis matrix: the bits of one at a time") {
  for (DType dtype : {DType::nt2, DType::nt3, DType::nt4}) {
    const TrellisMatrix m = random_trellis(dtype, 32, 160, 3, 1.0);
    Guarded memory(m.bytes.size());
    std::memcpy(memory.data(), m.bytes.data(), m.bytes.size());
    check_rows({dtype, m.n_rows, m.n_cols, memory.data(), trellis_superrow_bytes(dtype, m.n_cols), &m.code});
  }
}
