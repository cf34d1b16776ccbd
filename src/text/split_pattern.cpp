// Matcher of split patterns; the parser is split_pattern_parser.cpp.
#include "text/split_pattern.h"

#include <algorithm>

namespace nutshell {
namespace {

using Item = SplitPattern::Item;
using Sequence = SplitPattern::Sequence;

constexpr size_t kNoMatch = static_cast<size_t>(-1);

size_t run_length(const Item& item, std::span<const uint32_t> text, size_t position) {
  const size_t limit = item.max == SplitPattern::kUnlimited
                           ? text.size() - position
                           : std::min<size_t>(item.max, text.size() - position);
  size_t n = 0;
  while (n < limit && item.set.contains(text[position + n])) ++n;
  return n;
}

// End of the match of items [i, ...) from position, or kNoMatch. Recursion goes as deep as the pattern has
// items.
size_t match_items(const Sequence& items, size_t i, std::span<const uint32_t> text, size_t position) {
  if (i == items.size()) return position;
  const Item& item = items[i];
  switch (item.kind) {
    case Item::Kind::set: {
      const size_t run = run_length(item, text, position);
      if (run < item.min) return kNoMatch;
      if (i + 1 == items.size()) return position + run;
      for (size_t take = run + 1; take-- > item.min;) {
        const size_t end = match_items(items, i + 1, text, position + take);
        if (end != kNoMatch) return end;
      }
      return kNoMatch;
    }
    case Item::Kind::not_ahead:
      if (position < text.size() && item.set.contains(text[position])) return kNoMatch;
      return match_items(items, i + 1, text, position);
    case Item::Kind::end:
      return position == text.size() ? match_items(items, i + 1, text, position) : kNoMatch;
    case Item::Kind::group:
      for (const Sequence& alternative : item.group) {
        const size_t end = match_items(alternative, 0, text, position);
        if (end != kNoMatch) return end;
      }
      return item.min == 0 ? position : kNoMatch;
  }
  return kNoMatch;
}

}  // namespace

void CharSet::finish() {
  std::sort(ranges_.begin(), ranges_.end());
  size_t kept = 0;  // merged, so that one binary search decides
  for (const auto& range : ranges_) {
    if (kept > 0 && range.first <= ranges_[kept - 1].second) {
      ranges_[kept - 1].second = std::max(ranges_[kept - 1].second, range.second);
    } else {
      ranges_[kept++] = range;
    }
  }
  ranges_.resize(kept);
  for (uint32_t c = 0; c < 128; ++c) {
    if (contains_slow(c)) ascii_[c / 64] |= uint64_t{1} << (c % 64);
  }
}

bool CharSet::contains_slow(uint32_t c) const {
  bool in = classes_ && (classes_ >> static_cast<int>(char_class(c)) & 1);
  if (!in && !ranges_.empty()) {
    const auto after =
        std::upper_bound(ranges_.begin(), ranges_.end(), c,
                         [](uint32_t value, const auto& range) { return value < range.first; });
    in = after != ranges_.begin() && c <= std::prev(after)->second;
  }
  return in != negated_;
}

std::pair<size_t, size_t> SplitPattern::find(std::span<const uint32_t> text, size_t from) const {
  for (size_t position = from; position < text.size(); ++position) {
    for (const Sequence& alternative : alternatives_) {
      const size_t end = match_items(alternative, 0, text, position);
      if (end != kNoMatch && end > position) return {position, end};
    }
    // An only alternative that starts with a run X+ and failed from here fails from everywhere in that run: a
    // later start tries a subset of the same ends. Without this, \s+$ on spaces inside a line would take
    // quadratic time.
    const Item& first = alternatives_.front().front();
    if (alternatives_.size() == 1 && first.kind == Item::Kind::set && first.max == kUnlimited &&
        first.min > 0) {
      position += std::max<size_t>(run_length(first, text, position), 1) - 1;
    }
  }
  return {text.size(), text.size()};
}

}  // namespace nutshell
