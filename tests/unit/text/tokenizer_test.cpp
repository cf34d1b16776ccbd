// Byte-level BPE on a small vocabulary: merge order, special tokens, bytes of all kinds, hostile sizes, and
// every way a vocabulary can be wrong. Against real vocabularies: tokenizer_golden_test.cpp.
#include "text/tokenizer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "support/small_vocabulary.h"
#include "text/pretokenize.h"
#include "text/unicode.h"

using namespace nutshell;
using nutshell::testing::SmallVocabulary;

namespace {

using Ids = std::vector<int32_t>;

std::unique_ptr<Tokenizer> make(const SmallVocabulary& vocabulary) {
  auto made = make_tokenizer(vocabulary.data);
  REQUIRE_MESSAGE(made.ok(), made.status().message());
  return std::move(*made);
}

Status error_of(const TokenizerData& data) {
  auto made = make_tokenizer(data);
  return made.ok() ? Status() : made.status();
}

void check_error(const TokenizerData& data, ErrorCode code, const std::string& part) {
  const Status status = error_of(data);
  CAPTURE(status.message());
  CHECK(status.code() == code);
  CHECK(status.message().find(part) != std::string::npos);
}

std::vector<std::string> all_kinds() {
  std::vector<std::string> names;
  std::string name;
  for (const char c : PreTokenizer::known_names() + ",") {
    if (c == ',') {
      names.push_back(name);
      name.clear();
    } else if (c != ' ') {
      name += c;
    }
  }
  return names;
}

}  // namespace

TEST_CASE("bpe: the merge of lowest rank first, leftmost among equals, however they overlap") {
  SmallVocabulary v;
  const int32_t bc = v.merge("b", "c"), ab = v.merge("a", "b"), abc = v.merge("a", "bc");
  const int32_t aa = v.merge("a", "a"), aaaa = v.merge("aa", "aa");
  const auto t = make(v);
  CHECK(t->encode("abc", false) == Ids{abc});  // bc first, so ab never
  CHECK(t->encode("ab", false) == Ids{ab});
  CHECK(t->encode("bc", false) == Ids{bc});
  CHECK(t->encode("abab", false) == Ids{ab, ab});
  CHECK(t->encode("aaa", false) == Ids{aa, 'a'});
  CHECK(t->encode("aaaaaaa", false) == Ids{aaaa, aa, 'a'});
  CHECK(t->encode("a b", false) == Ids{'a', ' ', 'b'});
  CHECK(t->encode("", false).empty());
  CHECK(t->n_vocab() == 261);
}

TEST_CASE("bpe: special tokens are cut out leftmost and longest, user-defined ones always") {
  SmallVocabulary v;
  const int32_t end = v.add("<|end|>", TokenType::control), ends = v.add("<|end|>s", TokenType::control);
  const int32_t nbsp = v.add("\xC2\xA0", TokenType::user_defined),
                aab = v.add("aab", TokenType::user_defined);
  const int32_t unused = v.add("<unused>", TokenType::unused), unknown = v.add("<unk>", TokenType::unknown);
  const auto t = make(v);
  CHECK(t->encode("<|end|><|end|>s<|end|", true).front() == end);
  CHECK(t->encode("<|end|><|end|>s", true) == Ids{end, ends});
  CHECK(t->encode("<|end|>", false) == Ids{'<', '|', 'e', 'n', 'd', '|', '>'});
  CHECK(t->encode("x\xC2\xA0y", false) == Ids{'x', nbsp, 'y'});
  CHECK(t->encode("aaab", true) == Ids{'a', aab});
  CHECK(t->encode("<unk>", true).size() == 5);  // only control and user-defined tokens are recognised
  CHECK(t->decode(Ids{end, 'a', nbsp, unused, unknown}, true) == "<|end|>a\xC2\xA0<unused><unk>");
  CHECK(t->decode(Ids{end, 'a', nbsp, unused, unknown}, false) == "a\xC2\xA0");
  CHECK(t->token_bytes(-1, true).empty());
  CHECK(t->token_bytes(100000, true).empty());
  CHECK(t->type(end) == TokenType::control);
  CHECK(t->type(-5) == TokenType::unknown);
}

TEST_CASE("bpe: what ends a generation") {
  SmallVocabulary v;
  const int32_t im_end = v.add("<|im_end|>", TokenType::control), plain = v.add("</s>", TokenType::normal);
  const int32_t eot = v.add("<stop>", TokenType::control), other = v.add("<|im_start|>", TokenType::control);
  v.data.eos = 'z';
  v.data.eot = eot;
  const auto t = make(v);
  for (const int32_t id : {im_end, eot, int32_t{'z'}}) CHECK(t->is_end(id));
  for (const int32_t id : {plain, other, int32_t{'a'}, -1, 9999}) CHECK(!t->is_end(id));
}

TEST_CASE("bpe: in the harmony format <|end|> ends a channel, not the turn") {
  SmallVocabulary v;
  const int32_t end = v.add("<|end|>", TokenType::control);
  v.data.eot = end;
  CHECK(make(v)->is_end(end));
  const int32_t back = v.add("<|return|>", TokenType::control), call = v.add("<|call|>", TokenType::control);
  CHECK(!make(v)->is_end(end));
  CHECK(make(v)->is_end(back));
  CHECK(make(v)->is_end(call));
}

TEST_CASE("bpe: every sequence of bytes comes back, for every pre-tokenizer") {
  const std::string bad[] = {"\x80",
                             "\xFF\xFE",
                             "a\xC3",
                             "\xE2\x82",
                             "\xF0\x9F\x91",
                             "\xC0\xAF",
                             "\xED\xA0\x80\xED\xB0\x80",
                             "\xF4\x90\x80\x80",
                             " \xE1\x80 x",
                             "\xC3\xA9\xC3",
                             "e\xCC\x81\xCC",
                             std::string("\0\x01\0", 3)};
  for (const std::string& kind : all_kinds()) {
    CAPTURE(kind);
    SmallVocabulary v(kind);
    v.merge("e", "r");
    v.merge("\xCC", "\x81");
    const auto t = make(v);
    const auto pre = PreTokenizer::make(kind);
    REQUIRE(pre.ok());
    const auto check = [&](const std::string& text) {
      const std::string expected = pre->nfc() ? normalize_nfc(text) : text;
      CHECK(t->decode(t->encode(text, true), true) == expected);
      const std::vector<size_t> ends = pre->split(text);
      CHECK((text.empty() ? ends.empty() : ends.back() == text.size()));
      CHECK(std::adjacent_find(ends.begin(), ends.end(), std::greater_equal<>()) == ends.end());
    };
    for (const std::string& text : bad) check(text);
    for (uint64_t seed = 0; seed < 60; ++seed) {
      std::string text;
      for (uint64_t i = 0; i < 50; ++i) {
        const uint64_t r = counter_rng(seed, i);
        if (r % 4 == 0) {
          append_utf8(text, static_cast<uint32_t>(r >> 32) % 0xD800);
        } else {
          text += static_cast<char>(r % 4 == 1 ? r >> 8 : " \n'as1.\t"[r >> 8 & 7]);
        }
      }
      check(text);
    }
  }
}

TEST_CASE("bpe: invalid bytes are kept under NFC, and take no part in it") {
  const auto t = make(SmallVocabulary("qwen2"));
  CHECK(t->decode(t->encode("e\xCC\x81", true), true) == "\xC3\xA9");
  CHECK(t->decode(t->encode("e\xFF\xCC\x81", true), true) == "e\xFF\xCC\x81");
}

TEST_CASE("bpe: a byte without token gives none") {
  SmallVocabulary v;
  v.data.tokens['q'] = "<|none|>";
  const int32_t ab = v.merge("a", "b");
  const auto t = make(v);
  CHECK(t->encode("xqy", false) == Ids{'x', 'y'});
  CHECK(t->encode("aqb", false) == Ids{ab});  // as Hugging Face: the neighbours meet
}

TEST_CASE("bpe: a piece that is a token as a whole wins over merges where the kind says so") {
  for (const auto& [kind, whole] : {std::pair("llama-bpe", true), std::pair("gpt-2", false)}) {
    SmallVocabulary v(kind);
    const int32_t word = v.add(testing::mapped(" word"), TokenType::normal);  // no merges lead to it
    CHECK((make(v)->encode(" word", false) == Ids{word}) == whole);
  }
}

TEST_CASE("bpe: hostile texts of half a megabyte take time in proportion to their size") {
  SmallVocabulary v;
  for (const char* text : {"a", "aa", "aaaa", " ", "  ", "    "}) v.merge(text, text);
  v.add("<|a|>", TokenType::control);
  constexpr size_t kBytes = 1 << 19;
  const std::string letters(kBytes, 'a'), spaces(kBytes, ' ');
  std::string marks, mixed;
  while (marks.size() < kBytes) marks += "\xCC\x81\xCC\xA3";
  while (mixed.size() < kBytes) mixed += " \n'";
  for (const char* kind : {"smollm", "qwen2", "gpt-4o", "deepseek-llm", "deepseek-v3", "default"}) {
    CAPTURE(kind);
    v.data.pre = kind;
    const auto t = make(v);
    for (const std::string& text :
         {letters, spaces, spaces + "x", spaces + "\xE4\xB8\xAD", spaces + "\n", marks, mixed,
          std::string(kBytes, 'A'), std::string(kBytes, '\n'), std::string(kBytes, '<'),
          std::string(kBytes, '\xFF'), std::string(kBytes, '1')}) {
      const auto start = std::chrono::steady_clock::now();
      const Ids ids = t->encode(text, true);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      CHECK(!ids.empty());
      // Measured: at most 0.13 s, under sanitizers 2 s. Quadratic work would be 10^11 steps: minutes.
      CHECK(seconds < 30);
    }
  }
}

TEST_CASE("vocabulary: everything that can be wrong has its message") {
  const TokenizerData good = SmallVocabulary().data;
  CHECK(error_of(good).ok());
  TokenizerData d = good;
  d.model = "llama\xFF";
  check_error(d, ErrorCode::unsupported_tokenizer, "'llama?'");
  d = good;
  d.pre = "nobody";
  check_error(d, ErrorCode::unsupported_tokenizer, "'nobody'");
  check_error(d, ErrorCode::unsupported_tokenizer, "smollm");
  d = good;
  d.pre = "";  // llama.cpp's default
  CHECK(error_of(d).ok());
  d.tokens.clear();
  d.types.clear();
  check_error(d, ErrorCode::corrupt_file, "no tokens");
  d = good;
  d.types.pop_back();
  check_error(d, ErrorCode::corrupt_file, "256 tokens but 255 token types");
  d = good;
  d.scores.resize(3);
  check_error(d, ErrorCode::corrupt_file, "256 tokens but 3 scores");
  d = good;
  d.types[7] = 9;
  check_error(d, ErrorCode::corrupt_file, "token 7 has type 9");
  d = good;
  d.tokens[200] = "a";
  check_error(d, ErrorCode::corrupt_file, "tokens 97 and 200 are both 'a'");
  for (int32_t TokenizerData::*id : {&TokenizerData::bos, &TokenizerData::eos, &TokenizerData::eot,
                                     &TokenizerData::eom, &TokenizerData::unknown, &TokenizerData::padding}) {
    d = good;
    d.*id = 256;
    check_error(d, ErrorCode::corrupt_file, "token is 256, the vocabulary has 256 tokens");
    d.*id = -2;
    check_error(d, ErrorCode::corrupt_file, "token is -2");
    d.*id = 255;
    CHECK(error_of(d).ok());
  }
  d = good;
  d.types[5] = static_cast<int32_t>(TokenType::control);
  d.tokens[5] = std::string(513, 'x');
  check_error(d, ErrorCode::limit_exceeded, "513 bytes, allowed are 512");
  d.types[5] = 1;
  CHECK(error_of(d).ok());  // a long normal token harms nobody
  d = good;
  d.types.clear();  // a file without types: all normal
  CHECK(error_of(d).ok());
  d = good;
  d.tokens.resize((1u << 22) + 1);
  d.types.clear();
  check_error(d, ErrorCode::limit_exceeded, "4194305 tokens");
  d = good;
  d.merges.resize((1u << 23) + 1);
  check_error(d, ErrorCode::limit_exceeded, "8388609 merges");
}

TEST_CASE("merges: everything that can be wrong has its message") {
  SmallVocabulary v;
  v.merge("a", "b");
  for (const char* text : {"", " ", "ab", "a ", " b", "a"}) {
    TokenizerData d = v.data;
    d.merges.push_back(text);
    check_error(d, ErrorCode::corrupt_file, "merge 1");
  }
  TokenizerData d = v.data;
  d.merges.push_back("zz b");
  check_error(d, ErrorCode::corrupt_file, "merge 1, 'zz b': 'zz' is not in the vocabulary");
  d.merges.back() = "b zz";
  check_error(d, ErrorCode::corrupt_file, "'zz' is not in the vocabulary");
  d.merges.back() = "b c";
  check_error(d, ErrorCode::corrupt_file, "'bc' is not in the vocabulary");
  d.merges.back() = "b c d";
  check_error(d, ErrorCode::corrupt_file, "'c d' is not in the vocabulary");
  d.merges.back() = "a b";
  check_error(d, ErrorCode::corrupt_file, "merges 0 and 1 are of the same pair");
}
