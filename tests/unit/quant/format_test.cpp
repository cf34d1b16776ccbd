// The number formats against the gguf Python package (tests/golden/quant), and properties of all of them.
#include "quant/format.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "support/golden.h"

using namespace nutshell;

namespace {

std::string file_stem(DType dtype) {
  std::string stem(name_of(dtype));
  for (char& c : stem) c = static_cast<char>(std::tolower(c));
  return stem;
}

nlohmann::json read_format_golden(DType dtype) {
  return test::read_golden("quant/" + file_stem(dtype) + ".json");
}

std::vector<uint8_t> from_hex(const std::string& hex) {
  std::vector<uint8_t> bytes(hex.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<uint8_t>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  return bytes;
}

uint64_t fnv1a_bits(const std::vector<float>& values) {
  return fnv1a({reinterpret_cast<const char*>(values.data()), values.size() * 4});
}

}  // namespace

TEST_CASE("every format decodes to the bits of the gguf package") {
  for (const DTypeInfo& info : kDTypes) {
    const nlohmann::json golden = read_format_golden(info.dtype);
    CHECK(golden["format"] == std::string(info.name));
    CHECK(golden["block_length"] == info.block_length);
    CHECK(golden["block_bytes"] == info.block_bytes);
    REQUIRE(golden["cases"].size() >= 2);
    for (const nlohmann::json& c : golden["cases"]) {
      INFO(info.name << ", " << c["name"].get<std::string>());
      const std::vector<uint8_t> bytes = from_hex(c["bytes"]), wanted = from_hex(c["f32"]);
      const int64_t n = static_cast<int64_t>(bytes.size()) / info.block_bytes * info.block_length;
      REQUIRE(static_cast<int64_t>(wanted.size()) == 4 * n);
      std::vector<float> got(static_cast<size_t>(n));
      decode_row(info.dtype, bytes.data(), n, got.data());
      for (size_t i = 0; i < got.size(); ++i)
        REQUIRE(std::bit_cast<uint32_t>(got[i]) == load_le<uint32_t>(&wanted[4 * i]));
    }
  }
}

TEST_CASE("all finite codes of F16 and BF16 decode to the values of the gguf package") {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    const nlohmann::json all = read_format_golden(dtype)["all_finite_codes"];
    std::vector<float> values;
    for (uint32_t code = 0; code < 65536; ++code) {
      const auto word = static_cast<uint16_t>(code);
      float value = 0;
      decode_row(dtype, reinterpret_cast<const uint8_t*>(&word), 1, &value);
      if (std::isfinite(value)) values.push_back(value);
    }
    CHECK(values.size() == all["count"].get<size_t>());
    const nlohmann::json& sum = all["f32_fnv1a64"];
    const uint64_t wanted =
        sum.is_string() ? std::stoull(sum.get<std::string>(), nullptr, 16) : sum.get<uint64_t>();
    CHECK(fnv1a_bits(values) == wanted);
  }
}

TEST_CASE("random bits decode without undefined behaviour, at any address, block by block as in a row") {
  constexpr int64_t kBlocks = 16;
  for (const DTypeInfo& info : kDTypes) {
    const int64_t n = kBlocks * info.block_length, n_bytes = row_bytes(info.dtype, n);
    std::vector<uint8_t> bytes(static_cast<size_t>(n_bytes) + 1);
    for (uint64_t round = 0; round < 64; ++round) {
      for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(counter_rng(round, i));
      const size_t shift = round & 1;  // odd rounds: misaligned
      const std::vector<uint8_t> exact(bytes.begin() + static_cast<int>(shift), bytes.end());
      std::vector<float> row(static_cast<size_t>(n) + 1, 42.0f), single(static_cast<size_t>(n));
      decode_row(info.dtype, bytes.data() + shift, n, row.data());
      for (int64_t b = 0; b < kBlocks; ++b)
        decode_row(info.dtype, exact.data() + b * info.block_bytes, info.block_length,
                   &single[static_cast<size_t>(b * info.block_length)]);
      CHECK(row.back() == 42.0f);  // nothing written beyond the row
      REQUIRE(std::memcmp(row.data(), single.data(), single.size() * 4) == 0);
    }
  }
}

TEST_CASE("every file of src/quant is a listed format or shared, and every format has its file") {
  const std::filesystem::path folder = std::filesystem::path(test::golden_dir()) / "../../src/quant";
  const std::set<std::string> shared = {"block.h",  "encode.h",   "fit.h",       "format.cpp",
                                        "format.h", "k_scales.h", "trellis.cpp", "trellis.h"};
  std::set<std::string> found, wanted = shared;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    found.insert(entry.path().filename().string());
  for (const DTypeInfo& info : kDTypes) wanted.insert(file_stem(info.dtype) + ".h");
  CHECK(found == wanted);
}

TEST_CASE("encoders give the bytes of the gguf package") {
  const nlohmann::json golden = test::read_golden("encode/blocks.json");
  REQUIRE(golden["cases"].size() >= 10);
  for (const nlohmann::json& c : golden["cases"]) {
    const std::vector<uint8_t> in = from_hex(c["f32"]);
    REQUIRE(in.size() == 128);
    float values[32];
    std::memcpy(values, in.data(), sizeof(values));
    for (const DTypeInfo& info : kDTypes) {
      if (!has_encoder(info.dtype) || info.dtype == DType::f32 || info.block_length > 32) continue;
      INFO(c["name"].get<std::string>() << ", " << info.name);
      std::vector<uint8_t> got(static_cast<size_t>(row_bytes(info.dtype, 32)));
      REQUIRE(encode_row(info.dtype, values, 32, got.data()));
      CHECK(got == from_hex(c[std::string(info.name)]));
    }
  }
}

TEST_CASE("encoders stay within half a step and encode zero") {
  struct {
    DType dtype;
    double steps;  // codes over the range of the values
  } const kCases[] = {{DType::q8_0, 254}, {DType::q5_0, 32}, {DType::q4_0, 16}, {DType::q4_1, 15}};
  for (const auto& c : kCases) {
    INFO(name_of(c.dtype));
    REQUIRE(has_encoder(c.dtype));
    for (uint64_t seed = 0; seed < 200; ++seed) {
      float in[32], out[32];
      float largest = 0;
      const float size = std::ldexp(1.0f, static_cast<int>(seed % 20) - 10);
      for (uint64_t i = 0; i < 32; ++i) {
        in[i] = seed == 0 ? 0.0f : uniform_pm1(seed, i) * size;
        largest = std::max(largest, std::fabs(in[i]));
      }
      uint8_t bytes[34];
      REQUIRE(encode_row(c.dtype, in, 32, bytes));
      decode_row(c.dtype, bytes, 32, out);
      // Half a step of the widest possible range, twice that for the clipped end of Q4_0 and Q5_0; and the
      // rounding of scale and minimum to f16 (relative 2^-11, absolute 2^-25 each), which the largest code
      // multiplies.
      const double step = 2.0 * largest / c.steps;
      const double bound = (c.dtype == DType::q4_0 || c.dtype == DType::q5_0 ? step : step / 2) +
                           largest * 3 * 0x1p-11 + c.steps * 0x1p-25;
      for (int i = 0; i < 32; ++i) CHECK(std::fabs(static_cast<double>(in[i]) - out[i]) <= bound);
    }
  }
}

TEST_CASE("encoders that choose their scales are no worse than ggml's") {
  const nlohmann::json golden = test::read_golden("encode/k_blocks.json");
  REQUIRE(golden["cases"].size() >= 5);
  for (const nlohmann::json& c : golden["cases"]) {
    const std::vector<uint8_t> in = from_hex(c["f32"]);
    REQUIRE(in.size() == 1024);
    float values[256], out[256];
    std::memcpy(values, in.data(), sizeof(values));
    for (const DType dtype : {DType::q4_k, DType::q6_k}) {
      INFO(c["name"].get<std::string>() << ", " << name_of(dtype));
      std::vector<uint8_t> bytes(static_cast<size_t>(row_bytes(dtype, 256)));
      REQUIRE(encode_row(dtype, values, 256, bytes.data()));
      decode_row(dtype, bytes.data(), 256, out);
      double error = 0;
      for (int i = 0; i < 256; ++i) error += std::pow(static_cast<double>(out[i]) - values[i], 2);
      CHECK(error <= c[std::string(name_of(dtype))].get<double>());
    }
  }
}

TEST_CASE("Q4_K and Q6_K stay within their steps in every sub-block, and encode zero exactly") {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    float in[256], out[256];
    for (uint64_t i = 0; i < 256; ++i) {
      // Sizes from 2^-10 on, other ones in every sub-block of 16.
      const int exponent =
          static_cast<int>(counter_rng(seed, 1000 + i / 16) % 12) + static_cast<int>(seed % 20) - 10;
      in[i] = seed == 0 ? 0.0f : std::ldexp(uniform_pm1(seed, i) + (seed % 3 == 0 ? 0.7f : 0.0f), exponent);
    }
    const auto root = [&](int from, int n) {
      double sum = 0;
      for (int i = from; i < from + n; ++i) sum += std::pow(static_cast<double>(out[i]) - in[i], 2);
      return std::sqrt(sum / n);
    };
    // The scales fitted are at least as good as those that put the range's ends on the first and last code,
    // whose errors are half a step (a whole one where Q6_K cuts its end off). Rounding scale and minimum
    // moves every value by at most half a unit of them times the largest code; choosing nearer codes only
    // helps. Scales below f16's smallest steps (2^-24) lose all: 2^-25 per unit of scale times code.
    Q4_K::Block k4;
    Q4_K::encode(in, k4);
    Q4_K::decode(k4, out);
    const double d = std::fabs(f16_to_f32(k4.d)), dmin = std::fabs(f16_to_f32(k4.dmin));
    for (int j = 0; j < 8; ++j) {
      const auto [low, high] = std::minmax_element(in + 32 * j, in + 32 * j + 32);
      const double step = (std::max(*high, 0.0f) - std::min(*low, 0.0f)) / 15;
      CHECK(root(32 * j, 32) <= 1.0001 * (step / 2 + 7.5 * d + dmin / 2) + 63 * 16 * 0x1p-25);
    }
    Q6_K::Block k6;
    Q6_K::encode(in, k6);
    Q6_K::decode(k6, out);
    const double d6 = std::fabs(f16_to_f32(k6.d));
    for (int j = 0; j < 16; ++j) {
      const double step = std::fabs(signed_extreme(in + 16 * j, 16)) / 32;
      CHECK(root(16 * j, 16) <= 1.0001 * (step + 16 * d6) + 128 * 32 * 0x1p-25);
    }
    if (seed == 0)
      for (const float v : out) CHECK(v == 0.0f);
  }
}

TEST_CASE("encoders survive what is not finite or too small") {
  const float kHard[] = {INFINITY, -INFINITY, NAN, 1e-45f, -1e-45f, 3.4e38f, -3.4e38f, 0.0f, -0.0f, 1e-39f};
  for (const DTypeInfo& info : kDTypes) {
    if (!has_encoder(info.dtype)) continue;
    for (uint64_t seed = 0; seed < 100; ++seed) {
      std::vector<float> in(256), out(256);
      for (uint64_t i = 0; i < 256; ++i) in[i] = kHard[counter_rng(seed, i) % std::size(kHard)];
      std::vector<uint8_t> bytes(static_cast<size_t>(row_bytes(info.dtype, 256)));
      CHECK(encode_row(info.dtype, in.data(), 256, bytes.data()));
      decode_row(info.dtype, bytes.data(), 256, out.data());
    }
  }
  CHECK_FALSE(has_encoder(DType::iq4_xs));
}
