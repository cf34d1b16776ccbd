// Unicode classes and NFC: every code point against Hugging Face's tokenizers
// (tests/golden/text/unicode.json), and the rules of composition on cases one can read.
#include "text/unicode.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "base/rng.h"
#include "support/golden.h"
#include "text/utf8.h"

using namespace nutshell;

namespace {

std::string checksum(const std::string& bytes) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(fnv1a(bytes)));
  return text;
}

std::string utf8(std::initializer_list<uint32_t> characters) {
  std::string out;
  for (const uint32_t c : characters) append_utf8(out, c);
  return out;
}

bool is_surrogate(uint32_t c) { return c >= 0xD800 && c < 0xE000; }

}  // namespace

TEST_CASE("unicode golden: class and NFC of every code point as in Hugging Face tokenizers") {
  const nlohmann::json golden = test::read_golden("text/unicode.json");
  const uint32_t chunk = golden["chunk"].get<uint32_t>();
  REQUIRE(golden["classes"].size() * chunk == 0x110000);
  REQUIRE(golden["nfc"].size() * chunk == 0x110000);
  for (uint32_t first = 0; first < 0x110000; first += chunk) {
    CAPTURE(first);
    std::string classes, text;
    for (uint32_t c = first; c < first + chunk; ++c) {
      if (is_surrogate(c)) continue;
      classes += static_cast<char>(char_class(c));
      text += utf8({c, '\n', c, 0x301, '\n', 'a', c, 0x323, '\n', 0x1100, c, '\n'});
    }
    CHECK(checksum(classes) == golden["classes"][first / chunk].get<std::string>());
    CHECK(checksum(normalize_nfc(text)) == golden["nfc"][first / chunk].get<std::string>());
  }
}

TEST_CASE("unicode: classes one can read") {
  CHECK(char_class('A') == CharClass::upper);
  CHECK(char_class('z') == CharClass::lower);
  CHECK(char_class(0x1C5) == CharClass::title);     // Dz with caron
  CHECK(char_class(0x2B0) == CharClass::modifier);  // small h above
  CHECK(char_class(0x4E2D) == CharClass::letter);
  CHECK(char_class(0x301) == CharClass::mark);
  CHECK(char_class(0x216B) == CharClass::number);  // Roman twelve
  CHECK(char_class('_') == CharClass::punctuation);
  CHECK(char_class('$') == CharClass::symbol);
  CHECK(char_class(0x3000) == CharClass::space);
  CHECK(char_class(0x85) == CharClass::space);
  CHECK(char_class(0x200B) == CharClass::other);  // zero width space is no white space
  CHECK(char_class(0x1C) == CharClass::other);
  CHECK(char_class(0x10FFFF) == CharClass::other);
  CHECK(char_class(kInvalidByte + 0xFF) == CharClass::other);
  CHECK(char_class(0xFFFFFFFF) == CharClass::other);
}

TEST_CASE("nfc: composition, order, blocking, exclusions, Hangul") {
  const auto nfc = [](std::initializer_list<uint32_t> in) { return normalize_nfc(utf8(in)); };
  CHECK(nfc({'e', 0x301}) == utf8({0xE9}));
  CHECK(nfc({0xE9}) == utf8({0xE9}));
  CHECK(nfc({'q', 0x307, 0x323}) == utf8({'q', 0x323, 0x307}));  // ordered: below before above
  CHECK(nfc({'d', 0x307, 0x323}) == utf8({0x1E0D, 0x307}));      // composes over the reordered mark
  CHECK(nfc({'a', 0x302, 0x301}) == utf8({0x1EA5}));             // two steps
  CHECK(nfc({'a', 0x300, 0x301}) == utf8({0xE0, 0x301}));        // equal classes: the second is blocked
  CHECK(nfc({'a', 'b', 0x301}) == utf8({'a', 'b', 0x301}));
  CHECK(nfc({0x301, 'e'}) == utf8({0x301, 'e'}));  // no starter before it
  CHECK(nfc({0x958}) == utf8({0x915, 0x93C}));     // excluded from composition
  CHECK(nfc({0x2126}) == utf8({0x3A9}));           // singleton: Ohm
  CHECK(nfc({0x1100, 0x1161, 0x11A8}) == utf8({0xAC01}));
  CHECK(nfc({0xAC00, 0x11A8}) == utf8({0xAC01}));
  CHECK(nfc({0xAC01, 0x11A8}) == utf8({0xAC01, 0x11A8}));  // has a final already
  CHECK(nfc({0xAC00, 0x11A7}) == utf8({0xAC00, 0x11A7}));  // 11A7 is no final
  CHECK(nfc({0x1100, 0x300, 0x1161}) == utf8({0x1100, 0x300, 0x1161}));
  CHECK(nfc({0x1112E}) == utf8({0x1112E}));  // Chakma o, beyond the first plane
  CHECK(nfc({0x11131, 0x11127}) == utf8({0x1112E}));
  CHECK(normalize_nfc("") == "");
  CHECK(normalize_nfc("plain\n") == "plain\n");
  CHECK(normalize_nfc("e\xFF\xCC\x81\xC3") == "e\xFF\xCC\x81\xC3");
}

TEST_CASE("nfc: doing it twice changes nothing") {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    std::string text;
    for (uint64_t i = 0; i < 12; ++i) {
      const uint64_t r = counter_rng(seed, i);
      const uint32_t c = static_cast<uint32_t>(r >> 20);
      append_utf8(text, r % 3 == 0 ? 0x300 + c % 0x70 : r % 3 == 1 ? 0xC0 + c % 0x1F00 : 0x1100 + c % 0x100);
    }
    const std::string once = normalize_nfc(text);
    CHECK(normalize_nfc(once) == once);
  }
}
