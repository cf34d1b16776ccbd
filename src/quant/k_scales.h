// The 8 pairs of 6-bit scales and minima in 12 bytes that Q4_K and Q5_K share, and how they are chosen. L1.
//
//   byte  0 .. 3    bits 0-5: scale of sub-block 0..3;   bits 6-7: upper 2 bits of the scale of 4..7
//         4 .. 7    bits 0-5: minimum of sub-block 0..3; bits 6-7: upper 2 bits of the minimum of 4..7
//         8 .. 11   sub-block 4..7: lower 4 bits of the scale (low nibble) and of the minimum (high nibble)
#pragma once

#include <cstdint>

#include "base/half.h"
#include "quant/fit.h"

namespace nutshell {

struct KScale {
  int scale, minimum;  // 0..63
};

// Of sub-block j in [0, 8).
inline KScale unpack_k_scale(const uint8_t* packed, int j) {
  if (j < 4) return {packed[j] & 63, packed[j + 4] & 63};
  const uint8_t low = packed[j + 4];
  return {(low & 15) | (packed[j - 4] >> 6) << 4, (low >> 4) | (packed[j] >> 6) << 4};
}

// Precondition: the 12 bytes were zero before sub-block 0.
inline void pack_k_scale(uint8_t* packed, int j, KScale s) {
  if (j < 4) {
    packed[j] = static_cast<uint8_t>(s.scale);
    packed[j + 4] = static_cast<uint8_t>(s.minimum);
  } else {
    packed[j + 4] = static_cast<uint8_t>((s.scale & 15) | (s.minimum & 15) << 4);
    packed[j - 4] = static_cast<uint8_t>(packed[j - 4] | s.scale >> 4 << 6);
    packed[j] = static_cast<uint8_t>(packed[j] | s.minimum >> 4 << 6);
  }
}

// The scales of a block of 8 x 32 values with codes 0..limit, and the codes. Scale and minimum of a sub-block
// are rounded together: each is tried one up and one down, and the pair with the least error stays.
template <typename Block>
void encode_k_scales(const float* in, int limit, Block& block, uint8_t* codes) {
  AffineFit fits[8];
  float scale = 0, minimum = 0;
  for (int j = 0; j < 8; ++j) {
    fits[j] = fit_affine(in + 32 * j, 32, limit);
    scale = std::max(scale, fits[j].scale);
    minimum = std::max(minimum, fits[j].minimum);
  }
  block.d = f32_to_f16(scale / 63.0f);
  block.dmin = f32_to_f16(minimum / 63.0f);
  const float d = f16_to_f32(block.d), dmin = f16_to_f32(block.dmin);
  std::fill(block.scales, block.scales + 12, uint8_t{0});
  for (int j = 0; j < 8; ++j) {
    const float* values = in + 32 * j;
    const int s0 = clamp_code(fits[j].scale * safe_inverse(d) + 0.5f, 63);
    const int m0 = clamp_code(fits[j].minimum * safe_inverse(dmin) + 0.5f, 63);
    KScale best{s0, m0};
    const auto fit_of = [&](KScale s) {
      return AffineFit{d * static_cast<float>(s.scale), dmin * static_cast<float>(s.minimum)};
    };
    float least = affine_error(values, 32, limit, fit_of(best));
    for (int s = std::max(s0 - 1, 0); s <= std::min(s0 + 1, 63); ++s)
      for (int m = std::max(m0 - 1, 0); m <= std::min(m0 + 1, 63); ++m) {
        const float error = affine_error(values, 32, limit, fit_of({s, m}));
        if (error < least) {
          least = error;
          best = {s, m};
        }
      }
    pack_k_scale(block.scales, j, best);
    affine_error(values, 32, limit, fit_of(best), codes + 32 * j);
  }
}

}  // namespace nutshell
