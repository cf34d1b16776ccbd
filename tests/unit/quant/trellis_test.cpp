// The trellis formats: bytes against an independent decoder (tests/golden/quant/trellis.json), the search
// against exhaustive search, and the error the format's head states.
#include "quant/trellis.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "base/bytes.h"
#include "support/golden.h"
#include "support/trellis_weights.h"

using namespace nutshell;
using namespace nutshell::test;

namespace {

std::vector<uint8_t> from_hex(const std::string& hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < hex.size(); i += 2)
    bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

std::vector<float> gaussian(size_t n, uint64_t seed) {
  std::vector<float> out;
  for (size_t i = 0; i < n; ++i) {  // sum of 12 uniforms: variance 4 on [-1, 1)
    double sum = 0;
    for (uint64_t k = 0; k < 12; ++k) sum += static_cast<double>(uniform_pm1(seed + k, i));
    out.push_back(static_cast<float>(sum / 2));
  }
  return out;
}

}  // namespace

TEST_CASE("trellis superrows decode to the values of the independent decoder") {
  const nlohmann::json golden = read_golden("quant/trellis.json");
  REQUIRE(golden["cases"].size() == 6);
  for (const nlohmann::json& c : golden["cases"]) {
    const std::string format = c["format"];
    DType dtype{};
    for (const DTypeInfo& info : kTrellisTypes)
      if (info.name == format) dtype = info.dtype;
    REQUIRE(name_of(dtype) == format);
    TrellisCode code;
    for (size_t i = 0; i < 16; ++i) {
      code.t1[i] = c["t1"][i];
      code.t2[i] = c["t2"][i];
    }
    code.zero = c["zero"];
    code.start = c["start"];
    code.scale = c["scale"];
    CHECK(valid_trellis(dtype, code));
    const int64_t n_cols = c["columns"];
    const std::vector<uint8_t> bytes = from_hex(c["bytes"]), wanted = from_hex(c["f32"]);
    REQUIRE(static_cast<int64_t>(bytes.size()) == trellis_superrow_bytes(dtype, n_cols));
    std::vector<float> row(static_cast<size_t>(n_cols));
    for (int r = 0; r < 16; ++r) {
      decode_trellis_row(dtype, code, bytes.data(), r, n_cols, row.data());
      for (size_t i = 0; i < row.size(); ++i)
        REQUIRE(std::bit_cast<uint32_t>(row[i]) ==
                load_le<uint32_t>(&wanted[4 * (static_cast<size_t>(r * n_cols) + i)]));
    }
  }
}

TEST_CASE("trellis symbols go to the places they are read from") {
  for (const DTypeInfo& info : kTrellisTypes) {
    constexpr int64_t n_cols = 96;
    std::vector<uint8_t> bytes(static_cast<size_t>(trellis_superrow_bytes(info.dtype, n_cols)));
    const int mask = (1 << trellis_bits(info.dtype)) - 1;
    const auto symbol = [&](int r, int64_t c) {
      return static_cast<int>(counter_rng(5, static_cast<uint64_t>(r * n_cols + c))) & mask;
    };
    for (int r = 0; r < 16; ++r)
      for (int64_t c = 0; c < n_cols; ++c) put_symbol(info.dtype, bytes.data(), r, c, symbol(r, c));
    CHECK(std::all_of(bytes.begin(), bytes.begin() + 32, [](uint8_t b) { return b == 0; }));  // scales
    for (int r = 0; r < 16; ++r)
      for (int64_t c = 0; c < n_cols; ++c)
        REQUIRE(get_symbol(info.dtype, bytes.data(), r, c) == symbol(r, c));
  }
}

TEST_CASE("the trellis search finds the nearest of all codes") {
  // 32 columns are 4 streams of 8 steps. The 2^16 codes of one stream of NT2 are tried one by one; where a
  // stream follows, it has to end in the window that stream starts from.
  const DType dtype = DType::nt2;
  const std::vector<float> row = gaussian(32, 40);
  const TrellisMatrix m = encode_trellis(dtype, row, 1, 32);
  const double scale = static_cast<double>(trellis_row_scale(m.code, m.bytes.data(), 0));
  int start = m.code.start;
  for (size_t i = 0; i < 4; ++i) {
    int end = start;
    for (int64_t t = 0; t < 8; ++t)
      end = (end | get_symbol(dtype, m.bytes.data(), 0, 4 * t + static_cast<int64_t>(i)) << 4) >> 2;
    double best = INFINITY, got = 0;
    for (uint32_t bits = 0; bits < 65536; ++bits) {
      int window = start;
      double error = 0;
      for (size_t t = 0; t < 8; ++t) {
        const int before = window;
        window = (window | static_cast<int>(bits >> 2 * t & 3) << 4) >> 2;
        const double e = scale * (m.code.t1[before] + m.code.t2[window] - m.code.zero) -
                         static_cast<double>(row[4 * t + i]);
        error += e * e;
      }
      if (i == 3 || window == end) best = std::min(best, error);
    }
    for (size_t t = 0; t < 8; ++t)
      got += std::pow(static_cast<double>(m.values[4 * t + i] - row[4 * t + i]), 2);
    CHECK(got == doctest::Approx(best).epsilon(1e-5));
    start = end;
  }
}

TEST_CASE("the default tables keep the stated error on Gaussian rows") {
  constexpr int64_t n_rows = 32, n_cols = 576;
  const std::vector<float> values = gaussian(n_rows * n_cols, 60);
  for (const DTypeInfo& info : kTrellisTypes) {
    const TrellisMatrix m = encode_trellis(info.dtype, values, n_rows, n_cols);
    CHECK(valid_trellis(info.dtype, m.code));
    double error = 0, power = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      error += std::pow(static_cast<double>(m.values[i] - values[i]), 2);
      power += std::pow(static_cast<double>(values[i]), 2);
    }
    INFO(info.name << " " << error / power);
    // 18432 values: the mean of their squared errors is known to about 2 %.
    const auto stated = static_cast<double>(default_trellis(info.dtype).error);
    CHECK(error / power < 1.05 * stated);
    CHECK(error / power > 0.9 * stated);
  }
}
