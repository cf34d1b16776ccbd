// Class lookup in two steps (block of 128, then place in it), built once from the list of ranges. Most blocks
// lie within one range: to look at each of a million characters would cost every start 10 ms in a browser.
#include "text/unicode.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "text/utf8.h"

namespace nutshell {
namespace {

#include "text/unicode_classes.inc"

constexpr uint32_t kBlock = 128, kBlocks = kInvalidByte / kBlock;

class ClassTable {
 public:
  // By ranges, not by characters: a browser runs this once, before it has optimised it.
  ClassTable() {
    constexpr size_t kRanges = std::size(kClassStarts);
    std::array<uint16_t, 16> whole{};  // by class: 1 + the block that is all of it
    size_t range = 0;                  // of the character looked at
    classes_.reserve(256 * kBlock);    // Unicode 16 has 255 of them
    const auto range_end = [&] { return range + 1 < kRanges ? kClassStarts[range + 1] >> 4 : kInvalidByte; };
    for (uint32_t b = 0; b < kBlocks; ++b) {
      const uint32_t first = b * kBlock, end = first + kBlock;
      while (range_end() <= first) ++range;
      const bool one = range_end() >= end;
      uint16_t& same = whole[kClassStarts[range] & 0xF];
      if (one && same != 0) {
        block_of_[b] = static_cast<uint16_t>(same - 1);
        continue;
      }
      block_of_[b] = static_cast<uint16_t>(classes_.size() / kBlock);
      if (one) same = static_cast<uint16_t>(block_of_[b] + 1);
      classes_.resize(classes_.size() + kBlock);
      uint8_t* const block = classes_.data() + classes_.size() - kBlock;
      for (uint32_t c = first; c < end;) {
        const uint32_t to = std::min(range_end(), end);
        std::memset(block + (c - first), static_cast<int>(kClassStarts[range] & 0xF), to - c);
        c = to;
        if (c < end) ++range;
      }
    }
  }
  CharClass of(uint32_t c) const {
    return c < kInvalidByte ? static_cast<CharClass>(classes_[block_of_[c / kBlock] * kBlock + c % kBlock])
                            : CharClass::other;
  }

 private:
  std::array<uint16_t, kBlocks> block_of_{};
  std::vector<uint8_t> classes_;
};

}  // namespace

CharClass char_class(uint32_t character) {
  static const ClassTable table;
  return table.of(character);
}

void append_characters(std::string_view text, std::vector<uint32_t>& out) {
  out.reserve(out.size() + text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = read_utf8(text, i);
    if (c.kind == Utf8Char::Kind::valid) {
      out.push_back(c.code_point);
    } else {
      for (size_t j = 0; j < c.length; ++j) out.push_back(kInvalidByte + static_cast<uint8_t>(text[i + j]));
    }
    i += c.length;
  }
}

}  // namespace nutshell
