// See literal_trie.h.
#include "text/literal_trie.h"

namespace nutshell {

void LiteralTrie::add(std::string_view text, int32_t id, bool always) {
  uint32_t node = 0;
  for (const char c : text) {
    const uint64_t key = uint64_t{node} << 8 | static_cast<uint8_t>(c);
    const auto [entry, is_new] = children_.emplace(key, n_nodes_);
    if (is_new) ++n_nodes_;
    node = entry->second;
  }
  ends_.emplace(node, End{id, always});
  starts_[static_cast<uint8_t>(text[0])] = true;
}

LiteralTrie::Match LiteralTrie::find(std::string_view text, size_t from, bool with_special) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<uint8_t>(text[begin])]) continue;
    Match best{begin, 0, -1};
    uint32_t node = 0;
    for (size_t i = begin; i < text.size(); ++i) {
      const auto child = children_.find(uint64_t{node} << 8 | static_cast<uint8_t>(text[i]));
      if (child == children_.end()) break;
      node = child->second;
      const auto end = ends_.find(node);
      if (end != ends_.end() && (with_special || end->second.always))
        best = {begin, i + 1 - begin, end->second.id};
    }
    if (best.length > 0) return best;
  }
  return {text.size(), 0, -1};
}

}  // namespace nutshell
