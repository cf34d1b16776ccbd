// Class lookup in two steps (block of 128, then place in it), built once from the list of ranges.
#include "text/unicode.h"

#include <algorithm>
#include <array>
#include <map>

#include "text/utf8.h"

namespace nutshell {
namespace {

#include "text/unicode_classes.inc"

constexpr uint32_t kBlock = 128, kBlocks = kInvalidByte / kBlock;

class ClassTable {
 public:
  ClassTable() {
    std::map<std::array<uint8_t, kBlock>, uint16_t> known;
    std::array<uint8_t, kBlock> block;
    size_t range = 0;
    constexpr size_t kRanges = std::size(kClassStarts);
    for (uint32_t b = 0; b < kBlocks; ++b) {
      for (uint32_t i = 0; i < kBlock; ++i) {
        while (range + 1 < kRanges && kClassStarts[range + 1] >> 4 <= b * kBlock + i) ++range;
        block[i] = kClassStarts[range] & 0xF;
      }
      const auto [entry, is_new] = known.emplace(block, static_cast<uint16_t>(known.size()));
      if (is_new) classes_.insert(classes_.end(), block.begin(), block.end());
      block_of_[b] = entry->second;
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
