// The small pattern language: what matches, what is refused, and that failing searches stay linear. The
// patterns of real pre-tokenizers are compared with other engines in tokenizer_golden_test.cpp.
#include "text/split_pattern.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "text/pretokenize.h"

using namespace nutshell;

namespace {

// All matches, joined by '|'.
std::string matches(std::string_view pattern, std::string_view text) {
  const auto compiled = SplitPattern::compile(pattern);
  REQUIRE_MESSAGE(compiled.ok(), compiled.status().message());
  std::vector<uint32_t> characters;
  append_characters(text, characters);
  std::string out;
  for (size_t at = 0; at < characters.size();) {
    const auto [first, last] = compiled->find(characters, at);
    size_t begin = 0, length = 0;
    for (size_t i = 0; i < first; ++i) begin += character_bytes(characters[i]);
    for (size_t i = first; i < last; ++i) length += character_bytes(characters[i]);
    if (length) out += (out.empty() ? "" : "|") + std::string(text.substr(begin, length));
    at = last;
  }
  return out;
}

}  // namespace

TEST_CASE("split pattern: the language") {
  CHECK(matches("a", "banana") == "a|a|a");
  CHECK(matches("an|a|n", "banana") == "an|an|a");
  CHECK(matches("a|an", "banana") == "a|a|a");  // the first alternative wins, not the longest
  CHECK(matches("[a-c]+", "abcdabx") == "abc|ab");
  CHECK(matches("[^a-c]+", "abcdabx") == "d|x");
  CHECK(matches("x?y", "yxyxxy") == "y|xy|xy");
  CHECK(matches("x*y", "yxyxxy") == "y|xy|xxy");
  CHECK(matches("x{2}", "xxxxx") == "xx|xx");
  CHECK(matches("x{2,3}", "xxxxxxxx") == "xxx|xxx|xx");
  CHECK(matches("x+xy", "xxxy") == "xxxy");  // gives back
  CHECK(matches("\\s+(?!\\S)", "a   b  ") == "  |  ");
  CHECK(matches("\\s+$", "a  b  ") == "  ");
  CHECK(matches("a(?:b|cd)", "abacdac") == "ab|acd");
  CHECK(matches("a(?:b|cd)?", "abacdac") == "ab|acd|a");
  CHECK(matches("(?i:'s|'ll)", "'s'S'lL'Ll's") == "'s|'S|'lL|'Ll|'s");
  CHECK(matches("(?i:'s)", "'\xC5\xBF") == "'\xC5\xBF");  // the long s folds to s
  CHECK(matches("[\\]\\\\^\\-]+", "a]^-\\b") == "]^-\\");
  CHECK(matches("\\x{E9}+", "\xC3\xA9\xC3\xA9z") == "\xC3\xA9\xC3\xA9");
  CHECK(matches("\\p{Lu}\\p{Ll}+", "Abc \xC3\x84rger DEF") == "Abc|\xC3\x84rger");
  CHECK(matches("[\\p{N}x]+", "x12\xC2\xB2y\xE2\x85\xAB") == "x12\xC2\xB2|\xE2\x85\xAB");
  CHECK(matches("\\S+",
                "a\xC2\xA0"
                "b\xE3\x80\x80"
                "c\xC2\x85"
                "d\xE2\x80\x8B"
                "e") ==
        "a|b|c|d\xE2\x80\x8B"
        "e");
  CHECK(matches("[^\\s]+",
                "a\xFF\xFE"
                "b c") ==
        "a\xFF\xFE"
        "b|c");  // invalid bytes are no white space
}

TEST_CASE("split pattern: what is not part of the language is refused with its place") {
  for (const char* pattern : {"",
                              "a|",
                              "|a",
                              "(a)",
                              "(?=a)",
                              "(?:a",
                              "a)",
                              "[a",
                              "[b-a]",
                              "a{",
                              "a{2",
                              "a{3,2}",
                              "a{0}",
                              "a{9999}",
                              "*a",
                              "a**",
                              "\\d",
                              "\\p{Greek}",
                              "\\p{L",
                              "\\",
                              "[\\",
                              ".",
                              "^a",
                              "(?:a)b",
                              "(?!ab)",
                              "\\x41",
                              "\\x{110000000}",
                              "\\x{zz}",
                              "(?:(?:(?:(?:(?:a)))))"}) {
    CAPTURE(pattern);
    const auto compiled = SplitPattern::compile(pattern);
    REQUIRE(!compiled.ok());
    CHECK(compiled.status().code() == ErrorCode::invalid_argument);
    CHECK(compiled.status().message().find("at character") != std::string::npos);
  }
}

TEST_CASE("pre-tokenizer: every name of the table compiles, once") {
  const std::string names = PreTokenizer::known_names();
  std::vector<std::string> seen;
  for (size_t begin = 0; begin < names.size();) {
    const size_t end = std::min(names.find(", ", begin), names.size());
    const std::string name = names.substr(begin, end - begin);
    CAPTURE(name);
    CHECK(PreTokenizer::make(name).ok());
    for (const std::string& other : seen) CHECK(other != name);
    seen.push_back(name);
    begin = end + 2;
  }
  for (const char* name : {"gpt-2", "smollm", "llama-bpe", "qwen2", "deepseek-llm", "gpt-4o", "o200k"}) {
    CHECK(std::find(seen.begin(), seen.end(), name) != seen.end());
  }
  CHECK(PreTokenizer::make("gpt-2 phi-2").status().code() == ErrorCode::unsupported_tokenizer);
}
