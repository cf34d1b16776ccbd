// The kernels one by one against their double-precision twins and their specifications.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/rng.h"
#include "kernels/dense.h"
#include "kernels/matmul.h"
#include "kernels/matvec.h"
#include "kernels/pack.h"
#include "kernels/reference.h"
#include "kernels/rows.h"
#include "kernels/tune.h"
#include "support/kernel_memory.h"
#include "unit/kernels/random_weights.h"

using namespace nutshell;
using namespace nutshell::test;

namespace {

constexpr double kEps = 0x1p-24;  // f32 rounding, relative

std::vector<DType> packed_types() {
  std::vector<DType> types;
  for (const DTypeInfo& info : kDTypes)
    if (has_packed(info.dtype)) types.push_back(info.dtype);
  return types;
}

reference::Row to_double(const float* x, int64_t n) { return {x, x + n}; }

struct Packed16 {
  PackedMatrix matrix;
  Guarded memory;
};

Packed16 pack(DType dtype, const std::vector<uint8_t>& rows, int64_t n_rows, int64_t n_cols) {
  Packed16 p{{}, Guarded(static_cast<size_t>(*packed_bytes(dtype, n_rows, n_cols)))};
  const int64_t one = static_cast<int64_t>(*packed_bytes(dtype, 1, n_cols)), in = row_bytes(dtype, n_cols);
  for (int64_t r = 0; r < n_rows; r += 16)
    REQUIRE(pack_superrow(dtype, rows.data() + r * in, static_cast<int>(std::min<int64_t>(16, n_rows - r)),
                          n_cols, p.memory.data() + r / 16 * one)
                .ok());
  CHECK(p.memory.intact());
  p.matrix = {dtype, n_rows, n_cols, p.memory.data(), one};
  return p;
}

// Largest error an f32 evaluation may have: every slice adds at most 4 rounded terms, each at most the
// slice's largest weight range times its activations; a format's offset may be 4 times its largest value.
double product_bound(const float* w, const reference::Row& x) {
  double sum = 0;
  for (size_t b = 0; b < x.size(); b += 32) {
    double largest = 0, activation = 0;
    for (size_t k = b; k < b + 32; ++k) {
      largest = std::max(largest, std::fabs(static_cast<double>(w[k])));
      activation += std::fabs(x[k]);
    }
    sum += 4 * largest * activation;
  }
  return sum * kEps * (static_cast<double>(x.size()) / 32 * 4 + 16);
}

}  // namespace

#if NUTSHELL_RELAXED
TEST_CASE("the relaxed operations are what the proposal says, where it is deterministic") {
  int8_t a[16];
  int8_t b[16];
  for (uint64_t round = 0; round < 200; ++round) {
    for (size_t i = 0; i < 16; ++i) {
      a[i] = static_cast<int8_t>(counter_rng(round, i));
      b[i] = static_cast<int8_t>(counter_rng(round, 100 + i) & 127);
      if (round == 0) {
        a[i] = -128;
        b[i] = 127;
      }
      if (round == 1) {
        a[i] = 127;
        b[i] = 127;
      }
    }
    int16_t pairs[8];
    int32_t quads[4], start[4] = {1, -5, 1 << 30, -(1 << 30)};
    wasm_v128_store(pairs, relaxed_dot_pairs(load(a), load(b)));
    wasm_v128_store(quads, relaxed_dot_quads(load(a), load(b), load(start)));
    for (int i = 0; i < 8; ++i) CHECK(pairs[i] == a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1]);
    for (int i = 0; i < 4; ++i) {
      int32_t sum = start[i];
      for (int j = 4 * i; j < 4 * i + 4; ++j) sum += a[j] * b[j];
      CHECK(quads[i] == sum);
    }
  }
  for (uint64_t i = 0; i < 200; ++i) {
    const float x = uniform_pm1(1, i), y = uniform_pm1(2, i), z = uniform_pm1(3, i);
    const float m = wasm_f32x4_extract_lane(relaxed_madd(splat_f32(x), splat_f32(y), splat_f32(z)), 2);
    const float n = wasm_f32x4_extract_lane(relaxed_nmadd(splat_f32(x), splat_f32(y), splat_f32(z)), 1);
    CHECK((m == x * y + z || m == std::fma(x, y, z)));
    CHECK((n == z - x * y || n == std::fma(-x, y, z)));
  }
}
#endif

TEST_CASE("raw f16 loads are exact for every finite code, subnormals too") {
  const V mask = f16_mask();
  for (uint32_t code = 0; code < 65536; ++code) {
    if ((code & 0x7c00) == 0x7c00) continue;
    const auto h = static_cast<uint16_t>(code);
    const uint16_t four[4] = {h, h, h, h};
    const float raw = wasm_f32x4_extract_lane(load_f16_raw(four, mask), 3);
    REQUIRE(static_cast<double>(raw) * 0x1p112 == static_cast<double>(f16_to_f32(h)));
  }
}

TEST_CASE("vector exp keeps its stated error") {
  double worst = 0;
  for (double x = -87.2; x < 88.2; x += 0.00371) {
    const auto f = static_cast<float>(x);
    const double got = static_cast<double>(wasm_f32x4_extract_lane(exp_f32x4(splat_f32(f)), 0));
    worst = std::max(worst, std::fabs(got / std::exp(static_cast<double>(f)) - 1));
  }
  CHECK(worst < 4e-7);
  CHECK(worst > 1e-8);
  CHECK(wasm_f32x4_extract_lane(exp_f32x4(splat_f32(0)), 0) == 1.0f);
  CHECK(wasm_f32x4_extract_lane(exp_f32x4(splat_f32(-INFINITY)), 0) < 1.3e-38f);
  CHECK(std::isfinite(wasm_f32x4_extract_lane(exp_f32x4(splat_f32(1e30f)), 0)));
}

TEST_CASE("packing loses nothing: every row comes back with the bits of decode_row, within 3 % of the size") {
  for (DType dtype : packed_types()) {
    for (int64_t n_rows : {1, 16, 23}) {
      const int64_t n_cols = info_of(dtype).block_length * 3, in = row_bytes(dtype, n_cols);
      for (double magnitude : {1.0, 1e-6, 3e4}) {  // 1e-6: subnormal scales
        const auto rows = random_rows(dtype, n_rows, n_cols, 7, magnitude);
        const Packed16 p = pack(dtype, rows, n_rows, n_cols);
        for (int64_t r = 0; r < n_rows; ++r) {
          std::vector<float> wanted(static_cast<size_t>(n_cols)), got(wanted);
          decode_row(dtype, rows.data() + r * in, n_cols, wanted.data());
          unpack_row(dtype, p.matrix.data + r / 16 * p.matrix.superrow_bytes, static_cast<int>(r % 16),
                     n_cols, got.data());
          INFO(name_of(dtype) << " row " << r);
          REQUIRE(std::memcmp(wanted.data(), got.data(), wanted.size() * 4) == 0);
        }
      }
    }
    const double ratio = static_cast<double>(*packed_bytes(dtype, 576, 1536)) /
                         (576.0 * static_cast<double>(row_bytes(dtype, 1536)));
    CHECK(ratio < 1.03);
  }
}

TEST_CASE("packing refuses infinite and NaN scales and shapes that are not whole blocks") {
  for (DType dtype : packed_types()) {
    const int64_t n = info_of(dtype).block_length;
    std::vector<uint8_t> out(static_cast<size_t>(*packed_bytes(dtype, 16, n)) + 16);
    for (uint16_t bad : {uint16_t{0x7c00}, uint16_t{0xfc00}, uint16_t{0x7e01}}) {
      auto rows = random_rows(dtype, 16, n, 3, 1.0);
      const size_t d = dtype == DType::q6_k ? 208 : 0;
      std::memcpy(rows.data() + 15 * row_bytes(dtype, n) + d, &bad, 2);
      CHECK(pack_superrow(dtype, rows.data(), 16, n, out.data()).code() == ErrorCode::corrupt_file);
    }
    CHECK_FALSE(packed_bytes(dtype, 16, n + 1).has_value());
    CHECK_FALSE(packed_bytes(dtype, 0, n).has_value());
    CHECK_FALSE(packed_bytes(dtype, 16, int64_t{1} << 60).has_value());
  }
  CHECK_FALSE(packed_bytes(DType::f32, 16, 32).has_value());
}

TEST_CASE("activation codes are rounded to nearest, never -128, in every form") {
  constexpr int64_t n = 96;
  std::vector<float> x(n);
  for (uint64_t i = 0; i < n; ++i) x[i] = i < 64 ? 5 * uniform_pm1(11, i) : 0.0f;
  x[3] = -7;
  Guarded memory(ActRow::bytes_needed(n));
  const ActRow row = ActRow::at(memory.data(), n);
  quantize_row(x.data(), n, kActBytes | kActWords | kActPlain | kActPlanes, row);
  CHECK(memory.intact());
  const auto wanted = reference::quantized(to_double(x.data(), n));
  for (size_t b = 0; b < n / 32; ++b) {
    const double d = static_cast<double>(row.d[b]) * 0x1p-80;
    int sums[2] = {0, 0};
    for (size_t i = 0; i < 32; ++i) {
      const size_t k = 32 * b + i;
      const int code = row.bytes[k];
      CHECK(code >= -127);
      CHECK(d * code == doctest::Approx(wanted[k]).epsilon(1e-12));
      CHECK(row.plain[k] == code);
      CHECK(row.low[k] - 128 * row.sign[k] == code);
      CHECK(row.low[k] <= 127);
      const size_t order[4] = {0, 2, 1, 3};
      CHECK(row.words[k] == row.bytes[k / 4 * 4 + order[k % 4]]);
      sums[i / 16] += code;
    }
    CHECK(row.sums[2 * b] == sums[0]);
    CHECK(row.sums[2 * b + 1] == sums[1]);
  }
  const float hostile[32] = {INFINITY, -INFINITY, NAN, 3e38f, -3e38f};
  quantize_row(hostile, 32, kActBytes, row);
  for (int i = 0; i < 32; ++i) CHECK(row.bytes[i] >= -127);
}

TEST_CASE("matvec and matmul of every packed format, in every form") {
  for (DType dtype : packed_types()) {
    const bool k_quant = info_of(dtype).block_length == 256;
    for (int64_t n_cols : k_quant ? std::vector<int64_t>{256, 768} : std::vector<int64_t>{32, 96, 576}) {
      for (int64_t n_rows : {1, 16, 17, 40}) {
        const auto rows = random_rows(dtype, n_rows, n_cols, 5, n_rows == 17 ? 1e-6 : 1.0);
        const Packed16 p = pack(dtype, rows, n_rows, n_cols);
        std::vector<float> w(static_cast<size_t>(n_rows * n_cols)), bias;
        decode_row(dtype, rows.data(), n_rows * n_cols, w.data());
        for (uint64_t i = 0; i < static_cast<uint64_t>(n_rows); ++i) bias.push_back(uniform_pm1(17, i));
        for (int64_t n_tokens : {1, 2, 5, 130}) {
          std::vector<float> x(static_cast<size_t>(n_tokens * n_cols));
          for (uint64_t i = 0; i < x.size(); ++i) x[i] = 3 * uniform_pm1(19, i);
          if (n_tokens == 5)  // the extremes of the int16 sums
            for (size_t i = 0; i < x.size(); ++i) x[i] = i % 32 < 16 ? 2.0f : -2.0f;
          std::vector<reference::Row> wanted, quantized;
          for (int64_t t = 0; t < n_tokens; ++t) {
            quantized.push_back(reference::quantized(to_double(&x[static_cast<size_t>(t * n_cols)], n_cols)));
            wanted.push_back(reference::linear(w, n_rows, n_cols, quantized.back(), bias));
          }
          for (Dot dot : all_dots()) {
            INFO(name_of(dtype) << " " << n_rows << " x " << n_cols << ", " << n_tokens << " tokens, form "
                                << static_cast<int>(dot));
            const auto check = [&](const float* y, double start) {
              for (int64_t t = 0; t < n_tokens; ++t)
                for (int64_t r = 0; r < n_rows; ++r) {
                  const auto st = static_cast<size_t>(t), sr = static_cast<size_t>(r);
                  const double bound = product_bound(&w[sr * static_cast<size_t>(n_cols)], quantized[st]) +
                                       4 * kEps * (std::fabs(wanted[st][sr]) + start + 1);
                  const double error =
                      std::fabs(static_cast<double>(y[t * n_rows + r]) - start - wanted[st][sr]);
                  REQUIRE(error <= bound);
                }
            };
            Guarded y(static_cast<size_t>(n_tokens * n_rows) * 4);
            std::fill_n(y.floats(), n_tokens * n_rows, 2.0f);
            const int64_t n_super = (n_rows + 15) / 16;
            if (n_tokens <= 2) {
              Guarded memory(ActRow::bytes_needed(n_cols));
              const ActRow row = ActRow::at(memory.data(), n_cols);
              for (int64_t t = 0; t < n_tokens; ++t) {
                quantize_row(&x[static_cast<size_t>(t * n_cols)], n_cols, matvec_forms(dtype, dot), row);
                matvec(p.matrix, row, dot, bias.data(), t == 1, y.floats() + t * n_rows, 0, n_super);
                if (t == 1)
                  for (int64_t r = 0; r < n_rows; ++r) y.floats()[n_rows + r] -= 2.0f;
              }
              CHECK(memory.intact());
              if (n_tokens == 1) check(y.floats(), 0);
              CHECK(y.intact());
            }
            Guarded memory(ActTiles::bytes_needed(n_cols, n_tokens)), one(ActRow::bytes_needed(n_cols));
            Guarded scratch(matmul_scratch_bytes(dtype, n_cols));
            const ActTiles tiles = ActTiles::at(memory.data(), n_cols, n_tokens);
            for (int64_t t = 0; t < n_tokens; ++t)
              quantize_to_tiles(&x[static_cast<size_t>(t * n_cols)], t, matmul_forms(dtype, dot),
                                ActRow::at(one.data(), n_cols), tiles);
            for (int64_t t = n_tokens; t % 4 != 0; ++t) clear_in_tiles(t, tiles);
            std::fill_n(y.floats(), n_tokens * n_rows, 2.0f);
            matmul(p.matrix, tiles, n_tokens, dot, {y.floats(), n_rows, bias.data(), true}, 0, n_super,
                   scratch.data());
            check(y.floats(), 2.0);
            CHECK(y.intact());
            CHECK(memory.intact());
            CHECK(scratch.intact());
          }
        }
      }
    }
  }
}

TEST_CASE("the error against unquantised activations is at most half a code step per value") {
  constexpr int64_t n_cols = 512, n_rows = 16;
  for (DType dtype : packed_types()) {
    const auto rows = random_rows(dtype, n_rows, n_cols, 23, 1.0);
    const Packed16 p = pack(dtype, rows, n_rows, n_cols);
    std::vector<float> w(n_rows * n_cols), x(n_cols);
    decode_row(dtype, rows.data(), n_rows * n_cols, w.data());
    for (uint64_t i = 0; i < n_cols; ++i) x[i] = uniform_pm1(29, i);
    Guarded memory(ActRow::bytes_needed(n_cols));
    const ActRow row = ActRow::at(memory.data(), n_cols);
    quantize_row(x.data(), n_cols, matvec_forms(dtype, Dot::strict), row);
    float y[n_rows];
    matvec(p.matrix, row, Dot::strict, nullptr, false, y, 0, 1);
    const auto exact = reference::linear(w, n_rows, n_cols, to_double(x.data(), n_cols), {});
    for (size_t r = 0; r < n_rows; ++r) {
      double bound = product_bound(&w[r * n_cols], to_double(x.data(), n_cols));
      for (size_t k = 0; k < n_cols; ++k)
        bound += std::fabs(static_cast<double>(w[r * n_cols + k])) * static_cast<double>(row.d[k / 32]) *
                 0x1p-80 * 0.5001;
      CHECK(std::fabs(static_cast<double>(y[r]) - exact[r]) <= bound);
    }
  }
}

TEST_CASE("norm, gated activations, rope and sums") {
  for (int64_t n : {4, 7, 64, 576, 1537}) {
    std::vector<float> x, y, w;
    for (uint64_t i = 0; i < static_cast<uint64_t>(n); ++i) {
      x.push_back(8 * uniform_pm1(31, i));
      y.push_back(uniform_pm1(32, i));
      w.push_back(1 + uniform_pm1(33, i));
    }
    Guarded out(static_cast<size_t>(n) * 4);
    const double relative = kEps * (static_cast<double>(n) / 16 + 16);
    rms_norm_row(x.data(), w.data(), n, n, 1e-5f, out.floats());
    const auto norm = reference::rms_norm(to_double(x.data(), n), w, n, static_cast<double>(1e-5f));
    for (size_t i = 0; i < norm.size(); ++i)
      CHECK(std::fabs(static_cast<double>(out.floats()[i]) - norm[i]) <= relative * std::fabs(norm[i]));
    for (Gate g : {Gate::silu, Gate::gelu_tanh}) {
      gated_activation(g, x.data(), y.data(), n, out.floats());
      const auto gate = reference::gated(g, to_double(x.data(), n), to_double(y.data(), n));
      // exp's 4e-7, times the slope of its argument (rounded: 8 eps of up to 2 * 8.0 * 3.9), and a few
      // roundings.
      for (size_t i = 0; i < gate.size(); ++i)
        CHECK(std::fabs(static_cast<double>(out.floats()[i]) - gate[i]) <=
              (4e-7 + 8 * kEps * 64) * std::fabs(static_cast<double>(y[i])) *
                  (std::fabs(gate[i] / static_cast<double>(y[i])) + 1e-3));
    }
    add(x.data(), y.data(), n, out.floats());
    for (size_t i = 0; i < norm.size(); ++i) CHECK(out.floats()[i] == x[i] + y[i]);
    CHECK(out.intact());
    CHECK(std::fabs(static_cast<double>(dot_f32(x.data(), y.data(), n)) -
                    reference::linear(x, 1, n, to_double(y.data(), n), {})[0]) <=
          relative * 8 * static_cast<double>(n));
  }
}

TEST_CASE("rope angles stay right at position 131071") {
  for (RotaryPairs pairs : {RotaryPairs::interleaved, RotaryPairs::half}) {
    for (int64_t n_rot : {2, 20, 64}) {
      constexpr int64_t hd = 80, n_head = 3;
      std::vector<double> frequencies;
      for (int64_t i = 0; i < n_rot / 2; ++i)
        frequencies.push_back(std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(n_rot)));
      std::vector<float> x(n_head * hd), table(static_cast<size_t>(n_rot));
      for (uint64_t i = 0; i < x.size(); ++i) x[i] = uniform_pm1(41, i);
      const auto wanted = reference::rope(to_double(x.data(), n_head * hd), pairs, frequencies, 1.25, 131071,
                                          n_rot, n_head, hd);
      rope_table(frequencies, 1.25f, 131071, table.data());
      rope_row(pairs, table.data(), n_rot, n_head, hd, x.data());
      for (size_t i = 0; i < x.size(); ++i)
        CHECK(std::fabs(static_cast<double>(x[i]) - wanted[i]) <= 8 * kEps * 1.25 * 2);
    }
  }
}

TEST_CASE("the start-up choice is a form this flavour has") {
  const auto dots = all_dots();
  CHECK(std::find(dots.begin(), dots.end(), best_dot()) != dots.end());
}
