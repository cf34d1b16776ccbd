#include "base/half.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace nutshell;

TEST_CASE("every f16 value survives the way to f32 and back") {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float f = f16_to_f32(static_cast<uint16_t>(h));
    if (std::isnan(f)) {
      CHECK((h & 0x7c00u) == 0x7c00u);
      continue;
    }
    REQUIRE(f32_to_f16(f) == h);
  }
}

TEST_CASE("f16 values are those of the definition") {
  CHECK(f16_to_f32(0x3c00) == 1.0f);
  CHECK(f16_to_f32(0xc000) == -2.0f);
  CHECK(f16_to_f32(0x0001) == 0x1p-24f);
  CHECK(f16_to_f32(0x7bff) == 65504.0f);
  CHECK(std::isinf(f16_to_f32(0x7c00)));
}

TEST_CASE("f32 to f16 rounds to nearest, ties to even") {
  CHECK(f32_to_f16(1.0f + 0x1p-11f) == 0x3c00);      // tie: even
  CHECK(f32_to_f16(1.0f + 0x3p-11f) == 0x3c02);      // tie: even above
  CHECK(f32_to_f16(1.0f + 0x1.002p-11f) == 0x3c01);  // just above the tie
  CHECK(f32_to_f16(65519.0f) == 0x7bff);
  CHECK(f32_to_f16(65520.0f) == 0x7c00);
  CHECK(f32_to_f16(0x1p-25f) == 0x0000);    // tie to zero
  CHECK(f32_to_f16(0x1.8p-24f) == 0x0002);  // tie in the subnormals
}

TEST_CASE("bf16 rounds to nearest even and keeps what fits") {
  CHECK(bf16_to_f32(0x3f80) == 1.0f);
  CHECK(f32_to_bf16(1.0f + 0x1p-8f) == 0x3f80);
  CHECK(f32_to_bf16(1.0f + 0x3p-8f) == 0x3f82);
  for (uint32_t h = 0; h < 65536; ++h) {
    const float f = bf16_to_f32(static_cast<uint16_t>(h));
    if (!std::isnan(f)) REQUIRE(f32_to_bf16(f) == h);
  }
}
