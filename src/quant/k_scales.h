// The 8 pairs of 6-bit scales and minima in 12 bytes that Q4_K and Q5_K share. L1.
//
//   byte  0 .. 3    bits 0-5: scale of sub-block 0..3;   bits 6-7: upper 2 bits of the scale of 4..7
//         4 .. 7    bits 0-5: minimum of sub-block 0..3; bits 6-7: upper 2 bits of the minimum of 4..7
//         8 .. 11   sub-block 4..7: lower 4 bits of the scale (low nibble) and of the minimum (high nibble)
#pragma once

#include <cstdint>

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

}  // namespace nutshell
