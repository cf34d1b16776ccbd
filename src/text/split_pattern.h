// A small regular expression for splitting text into pieces: just what the published pre-tokenizer patterns
// use. L4; inside text/.
//
// Language: alternatives A|B; per alternative a row of items, each a set of characters with ? * + {n} {n,m}
// (greedy), or (?!S) (not followed by a character of set S), or $ (end of the piece), or, as last item, a
// group (?:A|B) or
// (?i:A|B) with or without ?. Sets: a character (\x{1F7D} by number), \p{L} \p{Lu} \p{N} ..., \s, \S, [..],
// [^..] with ranges. The first alternative that matches wins, as in Perl, Oniguruma and Python. Nothing else
// is accepted.
//
// Cost: one attempt is linear in the run of characters it looks at for the patterns of pretokenize.cpp: there
// is at most one run to give back from before an item that can fail.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/unicode.h"

namespace nutshell {

class CharSet {
 public:
  void add_range(uint32_t first, uint32_t last) { ranges_.emplace_back(first, last); }
  void add_class(CharClass c) { classes_ |= 1u << static_cast<int>(c); }
  void add_classes(uint32_t bits) { classes_ |= bits; }
  void negate() { negated_ = !negated_; }
  // Call once after the last change.
  void finish();
  bool contains(uint32_t c) const { return c < 128 ? ascii_[c / 64] >> (c % 64) & 1 : contains_slow(c); }

 private:
  bool contains_slow(uint32_t c) const;

  uint32_t classes_ = 0;  // bit per CharClass
  bool negated_ = false;
  std::vector<std::pair<uint32_t, uint32_t>> ranges_;
  uint64_t ascii_[2] = {};
};

class SplitPattern {
 public:
  // pattern: UTF-8. invalid_argument names the place and what is not understood.
  static Result<SplitPattern> compile(std::string_view pattern);

  // The first match at or after `from`: [first, second) in characters; {size, size} when there is none.
  std::pair<size_t, size_t> find(std::span<const uint32_t> text, size_t from) const;

  static constexpr uint32_t kUnlimited = 0xFFFFFFFF;
  struct Item;
  using Sequence = std::vector<Item>;
  struct Item {
    enum class Kind : uint8_t { set, not_ahead, end, group } kind = Kind::set;
    uint32_t min = 1, max = 1;  // repetitions: of sets any, of groups 0..1
    CharSet set;
    std::vector<Sequence> group;
  };

 private:
  std::vector<Sequence> alternatives_;
};

}  // namespace nutshell
