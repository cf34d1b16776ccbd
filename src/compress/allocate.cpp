#include "compress/allocate.h"

#include <cstddef>

namespace nutshell::compress {

Allocation allocate(const std::vector<Budget>& items, uint64_t limit) {
  Allocation a;
  a.bits.assign(items.size(), kMinBits);
  for (const Budget& b : items) a.bytes += b.bytes[kMinBits];
  for (;;) {
    size_t best = items.size();
    int best_bits = 0;
    double best_gain = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      const auto now = static_cast<size_t>(a.bits[i]);
      for (size_t k = now + 1; k <= kMaxBits; ++k) {
        const uint64_t more = items[i].bytes[k] - items[i].bytes[now];
        const double gain = (items[i].cost[now] - items[i].cost[k]) / static_cast<double>(more);
        if (a.bytes + more > limit || gain <= best_gain) continue;
        best = i;
        best_bits = static_cast<int>(k);
        best_gain = gain;
      }
    }
    if (best == items.size()) break;
    a.bytes += items[best].bytes[static_cast<size_t>(best_bits)] -
               items[best].bytes[static_cast<size_t>(a.bits[best])];
    a.bits[best] = best_bits;
  }
  for (size_t i = 0; i < items.size(); ++i) a.predicted_kl += items[i].cost[static_cast<size_t>(a.bits[i])];
  return a;
}

}  // namespace nutshell::compress
