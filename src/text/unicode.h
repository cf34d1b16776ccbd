// What the tokenizers need of Unicode: one class per code point, and normalisation form C. L4; inside text/.
// Data: unicode_classes.inc (Unicode 16.0) and unicode_nfc.inc (9.0): the versions Hugging Face tokenizers
// 0.23 uses for regular expressions and for NFC; made by scripts/golden/make_unicode.py.
//
// Text is handled as "characters": Unicode scalar values, and each byte of invalid UTF-8 as kInvalidByte +
// byte, which has class other and takes no part in normalisation. So any bytes survive the way there and
// back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nutshell {

// General categories as far as split patterns tell them apart. They exclude each other: white space
// (property White_Space) is category Z and some controls.
enum class CharClass : uint8_t {
  other,
  upper,        // Lu
  lower,        // Ll
  title,        // Lt
  modifier,     // Lm
  letter,       // Lo
  mark,         // M
  number,       // N
  punctuation,  // P
  symbol,       // S
  space,
};

constexpr uint32_t kInvalidByte = 0x110000;  // + byte value

// Class of a character; other for anything that is not a code point.
CharClass char_class(uint32_t character);

// Appends the characters of text to out.
void append_characters(std::string_view text, std::vector<uint32_t>& out);
// Bytes a character takes in UTF-8.
inline size_t character_bytes(uint32_t c) {
  return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : c < kInvalidByte ? 4 : 1;
}

// Normalisation form D of characters. Linear but for sorting runs of combining marks.
std::vector<uint32_t> decompose_nfd(std::span<const uint32_t> characters);
// Normalisation form C. Linear but for sorting runs of combining marks.
std::string normalize_nfc(std::string_view text);

}  // namespace nutshell
