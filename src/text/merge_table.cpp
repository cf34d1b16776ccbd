// See merge_table.h. Pairs are found by binary search in a list per left token, not by hashing: no file can
// choose pairs that collide.
#include "text/merge_table.h"

#include <algorithm>
#include <functional>

namespace nutshell {

Result<MergeTable> MergeTable::build(std::vector<Merge> merges, int32_t n_vocab) {
  MergeTable table;
  table.merges_ = std::move(merges);
  const std::vector<Merge>& all = table.merges_;
  const auto begins = [&](int32_t Merge::*id) {  // of the merges with each id, all in one row
    std::vector<uint32_t> begin(static_cast<size_t>(n_vocab) + 1, 0);
    for (const Merge& merge : all) ++begin[static_cast<size_t>(merge.*id) + 1];
    for (size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
    return begin;
  };
  // By left token, then right token, then rank: put in place twice, which keeps the order of equal ones. (It
  // takes no comparisons, of which a browser that has not optimised them yet makes a slow start.)
  std::vector<uint32_t> fill = begins(&Merge::right), by_right(all.size());
  for (uint32_t rank = 0; rank < all.size(); ++rank)
    by_right[fill[static_cast<size_t>(all[rank].right)]++] = rank;
  table.first_ = begins(&Merge::left);
  fill = table.first_;
  table.entries_.resize(all.size());
  for (const uint32_t rank : by_right)
    table.entries_[fill[static_cast<size_t>(all[rank].left)]++] = {all[rank].right,
                                                                   static_cast<int32_t>(rank)};
  for (size_t i = 0; i + 1 < table.entries_.size(); ++i) {
    const Entry &entry = table.entries_[i], &next = table.entries_[i + 1];
    if (entry.right != next.right) continue;
    if (all[static_cast<size_t>(entry.rank)].left != all[static_cast<size_t>(next.rank)].left) continue;
    return Status(ErrorCode::corrupt_file, "merges " + std::to_string(entry.rank) + " and " +
                                               std::to_string(next.rank) + " are of the same pair");
  }
  return table;
}

int32_t MergeTable::find(int32_t left, int32_t right) const {
  const Entry* begin = entries_.data() + first_[static_cast<size_t>(left)];
  const Entry* end = entries_.data() + first_[static_cast<size_t>(left) + 1];
  const Entry* it = std::lower_bound(begin, end, right,
                                     [](const Entry& entry, int32_t value) { return entry.right < value; });
  return it != end && it->right == right ? it->rank : -1;
}

void MergeTable::apply(std::vector<int32_t>& ids, Scratch& scratch) const {
  constexpr uint32_t kNone = 0xFFFFFFFF;
  const uint32_t n = static_cast<uint32_t>(ids.size());
  if (n < 2) return;
  // A queue entry is rank << 32 | position of the left symbol: the smallest is the next merge.
  auto& queue = scratch.queue;
  queue.clear();
  const auto offer = [&](uint32_t left, uint32_t right) {
    const int32_t rank = find(ids[left], ids[right]);
    if (rank < 0) return false;
    queue.push_back(static_cast<uint64_t>(rank) << 32 | left);
    return true;
  };
  for (uint32_t i = 0; i + 1 < n; ++i) offer(i, i + 1);
  if (queue.empty()) return;
  scratch.previous.resize(n);
  scratch.next.resize(n);
  for (uint32_t i = 0; i < n; ++i) {
    scratch.previous[i] = i - 1;  // kNone for the first
    scratch.next[i] = i + 1 < n ? i + 1 : kNone;
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
  while (!queue.empty()) {
    const uint64_t top = queue.front();
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    queue.pop_back();
    const Merge& merge = merges_[top >> 32];
    const uint32_t left = static_cast<uint32_t>(top), right = scratch.next[left];
    // Entries are not removed when a symbol they speak of is merged away: they no longer fit then.
    if (right == kNone || ids[left] != merge.left || ids[right] != merge.right) continue;
    ids[left] = merge.result;
    ids[right] = -1;
    const uint32_t after = scratch.next[right], before = scratch.previous[left];
    scratch.next[left] = after;
    scratch.next[right] = kNone;
    if (after != kNone) {
      scratch.previous[after] = left;
      if (offer(left, after)) std::push_heap(queue.begin(), queue.end(), std::greater<>());
    }
    if (before != kNone && offer(before, left)) std::push_heap(queue.begin(), queue.end(), std::greater<>());
  }
  std::erase(ids, -1);
}

}  // namespace nutshell
