// Reads UTF-8 one character at a time; bad bytes are reported, never skipped silently. L4; inside text/.
// Well-formed sequences: Unicode standard, table 3-7.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nutshell {

struct Utf8Char {
  enum class Kind : uint8_t {
    valid,
    invalid,     // a maximal subpart that no following byte can complete
    incomplete,  // the text ends inside what may still become a character
  };
  uint32_t code_point = 0;  // only when valid
  uint8_t length = 0;       // bytes taken, 1..4
  Kind kind = Kind::valid;
};

// The character at `position`. Precondition: position < text.size().
inline Utf8Char read_utf8(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[position + i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, Utf8Char::Kind::valid};
  if (lead < 0xC2 || lead > 0xF4) return {0, 1, Utf8Char::Kind::invalid};
  const uint8_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and what lies above U+10FFFF.
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  uint32_t code_point = lead & (0x7Fu >> length);
  for (uint8_t i = 1; i < length; ++i) {
    if (position + i >= text.size()) return {0, i, Utf8Char::Kind::incomplete};
    if (byte(i) < low || byte(i) > high) return {0, i, Utf8Char::Kind::invalid};
    code_point = code_point << 6 | (byte(i) & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {code_point, length, Utf8Char::Kind::valid};
}

// Precondition: a Unicode scalar value.
inline void append_utf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

}  // namespace nutshell
