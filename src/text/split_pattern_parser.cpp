// Parser of split patterns: text -> items. The language is described in split_pattern.h.
#include <algorithm>

#include "text/split_pattern.h"

namespace nutshell {
namespace {

using Item = SplitPattern::Item;
using Sequence = SplitPattern::Sequence;

constexpr uint32_t bit(CharClass c) { return 1u << static_cast<int>(c); }

struct Property {
  std::string_view name;
  uint32_t classes;
};
constexpr uint32_t kLetters = bit(CharClass::upper) | bit(CharClass::lower) | bit(CharClass::title) |
                              bit(CharClass::modifier) | bit(CharClass::letter);
constexpr Property kProperties[] = {
    {"L", kLetters},
    {"Lu", bit(CharClass::upper)},
    {"Ll", bit(CharClass::lower)},
    {"Lt", bit(CharClass::title)},
    {"Lm", bit(CharClass::modifier)},
    {"Lo", bit(CharClass::letter)},
    {"M", bit(CharClass::mark)},
    {"N", bit(CharClass::number)},
    {"P", bit(CharClass::punctuation)},
    {"S", bit(CharClass::symbol)},
};
constexpr uint32_t kSpace = bit(CharClass::space);
constexpr uint32_t kAllClasses = (bit(CharClass::space) << 1) - 1;
constexpr int kMaxDepth = 4;  // of groups: patterns come from our own table, this only bounds recursion
constexpr uint32_t kMaxCount = 1000;  // in {n,m}

class Parser {
 public:
  explicit Parser(std::string_view pattern) { append_characters(pattern, text_); }

  Status parse(std::vector<Sequence>& out) {
    RETURN_IF_ERROR(alternatives(out, false, 0));
    return at_end() ? Status() : error("unexpected )");
  }

 private:
  bool at_end() const { return position_ == text_.size(); }
  bool next_is(char c) const { return !at_end() && text_[position_] == static_cast<uint32_t>(c); }
  bool take(std::string_view expected) {
    for (size_t i = 0; i < expected.size(); ++i) {
      if (position_ + i >= text_.size() || text_[position_ + i] != static_cast<uint8_t>(expected[i]))
        return false;
    }
    position_ += expected.size();
    return true;
  }
  Status error(const char* what) const {
    return {ErrorCode::invalid_argument,
            "split pattern: " + std::string(what) + " at character " + std::to_string(position_)};
  }

  Status alternatives(std::vector<Sequence>& out, bool ignore_case, int depth) {
    if (depth > kMaxDepth) return error("groups too deep");
    do {
      Sequence items;
      while (!at_end() && !next_is('|') && !next_is(')')) {
        if (!items.empty() && items.back().kind == Item::Kind::group) return error("an item after a group");
        Item item;
        RETURN_IF_ERROR(one_item(item, ignore_case, depth));
        items.push_back(std::move(item));
      }
      if (items.empty()) return error("an empty alternative");
      out.push_back(std::move(items));
    } while (take("|"));
    return {};
  }

  Status one_item(Item& item, bool ignore_case, int depth) {
    if (take("$")) {
      item.kind = Item::Kind::end;
      return {};
    }
    if (take("(?!")) {
      item.kind = Item::Kind::not_ahead;
      RETURN_IF_ERROR(set(item.set, ignore_case));
      return take(")") ? Status() : error("(?! takes one set");
    }
    if (next_is('(')) {
      const bool folded = take("(?i:");
      if (!folded && !take("(?:")) return error("an unknown kind of group");
      item.kind = Item::Kind::group;
      RETURN_IF_ERROR(alternatives(item.group, ignore_case || folded, depth + 1));
      if (!take(")")) return error("a group without end");
      if (take("?")) item.min = 0;
      return {};
    }
    RETURN_IF_ERROR(set(item.set, ignore_case));
    return repetition(item);
  }

  Status repetition(Item& item) {
    if (take("?")) {
      item.min = 0;
    } else if (take("*")) {
      item.min = 0;
      item.max = SplitPattern::kUnlimited;
    } else if (take("+")) {
      item.max = SplitPattern::kUnlimited;
    } else if (take("{")) {
      RETURN_IF_ERROR(count(item.min));
      item.max = item.min;
      if (take(",")) RETURN_IF_ERROR(count(item.max));
      if (!take("}") || item.max < item.min || item.max == 0) return error("a bad {n,m}");
    }
    return {};
  }

  Status count(uint32_t& value) {
    value = 0;
    const size_t start = position_;
    while (!at_end() && text_[position_] >= '0' && text_[position_] <= '9' && value <= kMaxCount) {
      value = value * 10 + (text_[position_++] - '0');
    }
    return position_ > start && value <= kMaxCount ? Status() : error("a bad count");
  }

  // \p{..} \s \S as classes (true), or nothing taken (false).
  Status class_escape(CharSet& set, bool& taken) {
    taken = true;
    if (take("\\s")) {
      set.add_classes(kSpace);
    } else if (take("\\S")) {
      set.add_classes(kAllClasses & ~kSpace);
    } else if (take("\\p{")) {
      for (const Property& property : kProperties) {
        const size_t start = position_;
        if (take(property.name) && take("}")) {
          set.add_classes(property.classes);
          return {};
        }
        position_ = start;
      }
      return error("an unknown property");
    } else {
      taken = false;
    }
    return {};
  }

  Status character(uint32_t& c) {
    if (at_end()) return error("the end where a character should be");
    c = text_[position_++];
    if (c != '\\') return {};
    if (at_end()) return error("a lone backslash");
    c = text_[position_++];
    if (c == 'r') {
      c = '\r';
    } else if (c == 'n') {
      c = '\n';
    } else if (c == 't') {
      c = '\t';
    } else if (c == 'x') {
      return hexadecimal(c);
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
      return error("an unknown escape");
    }
    return {};
  }

  // The {H..} of \x{H..}.
  Status hexadecimal(uint32_t& c) {
    c = 0;
    if (!take("{")) return error("\\x without {");
    while (!at_end() && !next_is('}')) {
      const size_t digit =
          std::string_view("0123456789ABCDEF").find(static_cast<char>(text_[position_] & 0x7F));
      if (digit == std::string_view::npos || text_[position_] > 0x7F || c > 0x10FFF)
        return error("a bad \\x{}");
      c = c * 16 + static_cast<uint32_t>(digit);
      ++position_;
    }
    return take("}") ? Status() : error("\\x{ without }");
  }

  // One character, with the case folding of Unicode when asked for: s also matches U+017F, k also U+212A.
  static void add_character(CharSet& set, uint32_t c, bool ignore_case) {
    set.add_range(c, c);
    if (!ignore_case) return;
    const uint32_t lower = c | 0x20;
    if (lower < 'a' || lower > 'z') return;
    set.add_range(c ^ 0x20, c ^ 0x20);
    if (lower == 's') set.add_range(0x17F, 0x17F);
    if (lower == 'k') set.add_range(0x212A, 0x212A);
  }

  Status set(CharSet& set, bool ignore_case) {
    bool taken = false;
    RETURN_IF_ERROR(class_escape(set, taken));
    if (!taken && take("[")) {
      RETURN_IF_ERROR(brackets(set));
    } else if (!taken) {
      for (const char c : {'*', '+', '?', '{', '.', '^'}) {
        if (next_is(c)) return error("an operator that is not part of the language");
      }
      uint32_t c = 0;
      RETURN_IF_ERROR(character(c));
      add_character(set, c, ignore_case);
    }
    set.finish();
    return {};
  }

  Status brackets(CharSet& set) {
    if (take("^")) set.negate();
    bool first = true;
    while (first || !next_is(']')) {
      first = false;
      bool taken = false;
      RETURN_IF_ERROR(class_escape(set, taken));
      if (taken) continue;
      uint32_t low = 0;
      RETURN_IF_ERROR(character(low));
      uint32_t high = low;
      const bool range = next_is('-') && position_ + 1 < text_.size() && text_[position_ + 1] != ']';
      if (range) {
        ++position_;
        RETURN_IF_ERROR(character(high));
      }
      if (high < low) return error("a range from high to low");
      set.add_range(low, high);
    }
    return take("]") ? Status() : error("a set without end");
  }

  std::vector<uint32_t> text_;
  size_t position_ = 0;
};

}  // namespace

Result<SplitPattern> SplitPattern::compile(std::string_view pattern) {
  SplitPattern result;
  RETURN_IF_ERROR(Parser(pattern).parse(result.alternatives_));
  return result;
}

}  // namespace nutshell
