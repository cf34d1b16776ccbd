// What a trellis-coded weight needs besides its bytes: the tables its codes index. L1. The meaning is in
// src/quant/trellis.h.
#pragma once

#include <cstdint>

namespace nutshell {

struct TrellisCode {
  uint8_t t1[16] = {}, t2[16] = {};  // sums stay within trellis_max()
  uint8_t zero = 0;                  // the sum that means zero
  uint8_t start = 0;                 // M_{-1}: the window before a stream's first bit
  float scale = 1.0f;                // of the whole tensor
};

}  // namespace nutshell
