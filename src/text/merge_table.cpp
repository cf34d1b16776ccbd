// See merge_table.h. Pairs are found by binary search in a list per left token, not by hashing: no file can
// choose pairs that collide.
#include "text/merge_table.h"

#include <algorithm>
#include <functional>

namespace nutshell {

Result<MergeTable> MergeTable::build(std::vector<Merge> merges, int32_t n_vocab) {
  MergeTable table;
  table.merges_ = std::move(merges);
  table.first_.assign(static_cast<size_t>(n_vocab) + 1, 0);
  table.entries_.resize(table.merges_.size());
  for (const Merge& merge : table.merges_) ++table.first_[static_cast<size_t>(merge.left) + 1];
  for (size_t i = 1; i < table.first_.size(); ++i) table.first_[i] += table.first_[i - 1];
  std::vector<uint32_t> fill(table.first_.begin(), table.first_.end() - 1);
  for (size_t rank = 0; rank < table.merges_.size(); ++rank) {
    const Merge& merge = table.merges_[rank];
    table.entries_[fill[static_cast<size_t>(merge.left)]++] = {merge.right, static_cast<int32_t>(rank)};
  }
  for (size_t i = 0; i + 1 < table.first_.size(); ++i) {
    const auto begin = table.entries_.begin() + table.first_[i],
               end = table.entries_.begin() + table.first_[i + 1];
    if (end - begin < 2) continue;
    std::sort(begin, end, [](const Entry& a, const Entry& b) {
      return a.right != b.right ? a.right < b.right : a.rank < b.rank;
    });
    const auto twice =
        std::adjacent_find(begin, end, [](const Entry& a, const Entry& b) { return a.right == b.right; });
    if (twice != end) {
      return Status(ErrorCode::corrupt_file, "merges " + std::to_string(twice->rank) + " and " +
                                                 std::to_string((twice + 1)->rank) + " are of the same pair");
    }
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
