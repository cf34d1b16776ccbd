#include "compress/allocate.h"

#include <queue>

namespace nutshell::compress {
namespace {

// The best next width of an item.
struct Step {
  double gain = 0;  // KL per byte
  size_t item = 0;
  int bits = 0;
  bool operator<(const Step& other) const {  // equal gains: the first item is the greatest
    return gain != other.gain ? gain < other.gain : item > other.item;
  }
};

Step best_step(const std::vector<Budget>& items, size_t item, int bits, uint64_t left) {
  const Budget& b = items[item];
  const auto now = static_cast<size_t>(bits);
  Step best{0, item, 0};
  for (size_t k = now + 1; k <= kMaxBits; ++k) {
    const uint64_t more = b.bytes[k] - b.bytes[now];
    const double gain = (b.cost[now] - b.cost[k]) / static_cast<double>(more);
    if (more <= left && gain > best.gain) best = {gain, item, static_cast<int>(k)};
  }
  return best;
}

}  // namespace

Allocation allocate(const std::vector<Budget>& items, uint64_t limit) {
  Allocation a;
  a.bits.assign(items.size(), kMinBits);
  for (const Budget& b : items) a.bytes += b.bytes[kMinBits];
  std::priority_queue<Step> steps;
  const auto offer = [&](size_t item) {
    const Step s = best_step(items, item, a.bits[item], limit > a.bytes ? limit - a.bytes : 0);
    if (s.bits > 0) steps.push(s);
  };
  for (size_t i = 0; i < items.size(); ++i) offer(i);
  while (!steps.empty()) {
    const Step s = steps.top();
    steps.pop();
    const Budget& b = items[s.item];
    const uint64_t more =
        b.bytes[static_cast<size_t>(s.bits)] - b.bytes[static_cast<size_t>(a.bits[s.item])];
    if (more <= limit - a.bytes) {
      a.bytes += more;
      a.bits[s.item] = s.bits;
    }
    offer(s.item);  // its next width, or, where that was too much by now, a narrower one
  }
  for (size_t i = 0; i < items.size(); ++i) a.predicted_kl += items[i].cost[static_cast<size_t>(a.bits[i])];
  return a;
}

}  // namespace nutshell::compress
