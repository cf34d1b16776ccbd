// Finds tokens that stand literally in the text (control and user-defined tokens). L4; inside text/.
// The leftmost match wins, among those the longest, as for Hugging Face's added tokens.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>

namespace nutshell {

class LiteralTrie {
 public:
  // always: matched in every text; otherwise only when special tokens are asked for. text must not be empty.
  void add(std::string_view text, int32_t id, bool always);

  struct Match {
    size_t begin, length;  // in bytes; length 0 and begin = text.size() when there is none
    int32_t id;
  };
  // The first match at or after `from`. Cost: text length times the longest token at worst (see
  // kMaxLiteralBytes).
  Match find(std::string_view text, size_t from, bool with_special) const;

 private:
  struct End {
    int32_t id;
    bool always;
  };
  bool starts_[256] = {};
  uint32_t n_nodes_ = 1;                             // node 0 is the root
  std::unordered_map<uint64_t, uint32_t> children_;  // node << 8 | byte -> node
  std::unordered_map<uint32_t, End> ends_;           // node -> token
};

// A literal token longer than this is refused when the vocabulary is read.
constexpr size_t kMaxLiteralBytes = 512;

}  // namespace nutshell
