// Which matrix gets how many bits: the least predicted divergence for a number of bytes. L5.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "quant/trellis.h"

namespace nutshell::compress {

inline constexpr int kMinBits = kMinTrellisBits, kMaxBits = kMaxTrellisBits;

struct Budget {
  std::array<double, kMaxBits + 1> cost{};     // predicted KL in nats per token at K bits
  std::array<uint64_t, kMaxBits + 1> bytes{};  // in the file, at K bits
};

struct Allocation {
  std::vector<int> bits;  // per item
  uint64_t bytes = 0;
  double predicted_kl = 0;
};

// Greedy by gain per byte from the smallest on; bytes <= limit unless even the smallest is larger.
Allocation allocate(const std::vector<Budget>& items, uint64_t limit);

}  // namespace nutshell::compress
