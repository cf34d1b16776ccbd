// Utf8Stream and read_utf8: whatever the split into tokens, whole characters come out, and bad bytes become
// U+FFFD exactly as in the Unicode standard (tables 3-8 to 3-11, which TextDecoder follows).
#include "text/utf8_stream.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "base/rng.h"
#include "text/utf8.h"

using namespace nutshell;

namespace {

std::string decode_in_pieces(std::string_view bytes, size_t step) {
  Utf8Stream stream;
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += step) {
    const std::string piece = stream.push(bytes.substr(i, step));
    for (size_t j = 0; j < piece.size();) {
      const Utf8Char c = read_utf8(piece, j);
      REQUIRE(c.kind == Utf8Char::Kind::valid);
      j += c.length;
    }
    out += piece;
  }
  return out + stream.flush();
}

const std::string kBad = "\xEF\xBF\xBD";

std::string bad(int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += kBad;
  return out;
}

}  // namespace

TEST_CASE("utf8: every code point survives the round trip, surrogates are refused") {
  for (uint32_t c = 0; c < 0x110000; ++c) {
    std::string text;
    append_utf8(text, c);
    const Utf8Char read = read_utf8(text, 0);
    if (c >= 0xD800 && c < 0xE000) {
      REQUIRE(read.kind == Utf8Char::Kind::invalid);
    } else {
      REQUIRE(read.kind == Utf8Char::Kind::valid);
      REQUIRE(read.code_point == c);
      REQUIRE(read.length == text.size());
    }
  }
}

TEST_CASE("utf8_stream: characters are whole however the bytes arrive") {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80z";
  for (size_t step = 1; step <= text.size(); ++step) CHECK(decode_in_pieces(text, step) == text);
  Utf8Stream stream;
  CHECK(stream.push("\xF0\x9F\x91") == "");
  CHECK(stream.push("\xA9!") == "\xF0\x9F\x91\xA9!");
  CHECK(stream.flush() == "");
}

TEST_CASE("utf8_stream: one U+FFFD per maximal invalid subpart") {
  struct Case {
    std::string in, out;
  };
  const std::vector<Case> cases = {
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", bad(8) + "A"},                 // table 3-8
      {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", bad(8) + "A"},                 // table 3-9: surrogates
      {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", bad(5) + "A" + bad(2) + "B"},  // table 3-10
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", bad(4) + "A"},                 // table 3-11: truncated
      {"ok\xE2\x82", "ok" + kBad},                                            // end inside a character
      {"\xE2\x82\xE2\x82\xAC", kBad + "\xE2\x82\xAC"},
  };
  for (const Case& c : cases) {
    for (size_t step = 1; step <= c.in.size(); ++step) CHECK(decode_in_pieces(c.in, step) == c.out);
  }
}

TEST_CASE("utf8_stream: random bytes give the same text for every split, and flush resets") {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::string bytes;
    for (uint64_t i = 0; i < 40; ++i) {
      const uint64_t r = counter_rng(seed, i);
      bytes += static_cast<char>(r % 3 == 0   ? r >> 8
                                 : r % 3 == 1 ? 0x80 | (r >> 8 & 0x3F)
                                              : 0xE0 | (r >> 8 & 0x1F));
    }
    const std::string whole = decode_in_pieces(bytes, bytes.size());
    for (size_t step = 1; step < 6; ++step) CHECK(decode_in_pieces(bytes, step) == whole);
  }
  Utf8Stream stream;
  CHECK(stream.push("\xE2").empty());
  CHECK(stream.flush() == kBad);
  CHECK(stream.flush().empty());
  CHECK(stream.push("\x82") == kBad);
}
