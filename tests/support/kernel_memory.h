// What tests and benchmarks of the kernels share: aligned memory that notices writes behind its end, and the
// forms of the dot product that this build has.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/simd.h"

namespace nutshell::test {

inline std::vector<Dot> all_dots() {
#if NUTSHELL_RELAXED
  return {Dot::strict, Dot::pairs, Dot::quads};
#else
  return {Dot::strict};
#endif
}

// n bytes, aligned to 64, with 64 guard bytes behind.
struct Guarded {
  explicit Guarded(size_t n) : storage(n + 192, 0xA5), n_bytes(n) {}
  uint8_t* data() { return storage.data() + (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64; }
  float* floats() { return reinterpret_cast<float*>(data()); }
  bool intact() {
    return std::all_of(data() + n_bytes, data() + n_bytes + 64, [](uint8_t b) { return b == 0xA5; });
  }
  std::vector<uint8_t> storage;
  size_t n_bytes;
};

}  // namespace nutshell::test
