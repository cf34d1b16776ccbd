// Counter-based random numbers: the same on every platform and thread count, because the value at an
// index depends on nothing but (seed, index). The mixer is SplitMix64's finaliser (Steele, Lea, Flood 2014).
// L0. scripts/golden reproduces it in Python; change neither alone.
#pragma once

#include <cstdint>
#include <string_view>

namespace nutshell {

inline uint64_t counter_rng(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

// Uniform in [-1, 1) on a grid of 2^-23: exact in f32.
inline float uniform_pm1(uint64_t seed, uint64_t index) {
  return static_cast<float>(counter_rng(seed, index) >> 40) * 0x1p-23f - 1.0f;
}
// Uniform in [0, 1) with 53 bits.
inline double uniform_01(uint64_t seed, uint64_t index) {
  return static_cast<double>(counter_rng(seed, index) >> 11) * 0x1p-53;
}

// FNV-1a, to derive a seed per name.
inline uint64_t fnv1a(std::string_view text) {
  uint64_t h = 0xcbf29ce484222325ull;
  for (unsigned char c : text) h = (h ^ c) * 0x100000001b3ull;
  return h;
}

}  // namespace nutshell
