#include "compress/allocate.h"

#include <cstddef>
#include <queue>

namespace nutshell::compress {
namespace {

// An item from its present width to another.
struct Move {
  double gain;  // per byte
  size_t item;
  int from, to;
  uint64_t bytes;  // more than now
  // Of equal gains the first item and the smallest width come first.
  bool operator<(const Move& other) const {
    if (gain != other.gain) return gain < other.gain;
    return item != other.item ? item > other.item : to > other.to;
  }
};

}  // namespace

Allocation allocate(const std::vector<Budget>& items, uint64_t limit) {
  Allocation a;
  a.bits.assign(items.size(), kMinBits);
  for (const Budget& b : items) a.bytes += b.bytes[kMinBits];
  std::priority_queue<Move> moves;
  const auto add_moves = [&](size_t i) {
    const auto now = static_cast<size_t>(a.bits[i]);
    for (size_t k = now + 1; k <= kMaxBits; ++k) {
      const uint64_t more = items[i].bytes[k] - items[i].bytes[now];
      const double gain = (items[i].cost[now] - items[i].cost[k]) / static_cast<double>(more);
      if (gain > 0) moves.push({gain, i, a.bits[i], static_cast<int>(k), more});
    }
  };
  for (size_t i = 0; i < items.size(); ++i) add_moves(i);
  while (!moves.empty()) {
    const Move best = moves.top();
    moves.pop();
    // What does not fit now never will: bytes only become more.
    if (a.bits[best.item] != best.from || a.bytes + best.bytes > limit) continue;
    a.bytes += best.bytes;
    a.bits[best.item] = best.to;
    add_moves(best.item);
  }
  for (size_t i = 0; i < items.size(); ++i) a.predicted_kl += items[i].cost[static_cast<size_t>(a.bits[i])];
  return a;
}

}  // namespace nutshell::compress
