// SentencePiece against the library's Python package on Gemma 3's and Llama 2's vocabulary
// (tests/golden/text/ids_*.json), the way back to text over token borders, model files, and hostile
// vocabularies.
#include "text/sentencepiece.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "support/golden.h"
#include "support/sentencepiece_model.h"
#include "support/vocabulary_file.h"
#include "text/utf8_stream.h"

using namespace nutshell;
using namespace nutshell::test;
using nlohmann::json;
using Ids = std::vector<int32_t>;

namespace {

std::unique_ptr<Tokenizer> make(const TokenizerData& data) {
  auto made = make_tokenizer(data);
  REQUIRE_MESSAGE(made.ok(), made.status().message());
  return std::move(*made);
}

void add(TokenizerData& data, const std::string& text, TokenType type, float score = 0) {
  data.tokens.push_back(text);
  data.types.push_back(static_cast<int32_t>(type));
  data.scores.push_back(score);
}

// Ids: 0 <unk>, 1 <s>, 2 </s>, 3..258 bytes, then a few pieces.
constexpr int32_t kFirst = 259;
TokenizerData small(bool with_bytes = true) {
  TokenizerData data;
  data.model = "llama";
  data.bos = 1;
  data.eos = 2;
  add(data, "<unk>", TokenType::unknown);
  add(data, "<s>", TokenType::control);
  add(data, "</s>", TokenType::control);
  for (int b = 0; b < 256 && with_bytes; ++b) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", static_cast<unsigned>(b));
    add(data, text, TokenType::byte);
  }
  add(data, "\xE2\x96\x81", TokenType::normal, -9);  // kFirst: space
  add(data, "a", TokenType::normal, -5);
  add(data, "b", TokenType::normal, -6);
  add(data, "ab", TokenType::normal, -1);
  add(data,
      "\xE2\x96\x81"
      "ab",
      TokenType::normal, -2);
  return data;
}

void check_vocabulary(const char* name, const char* variable) {
  const auto t = make(testing::read_tokenizer(testing::required_path(variable)));
  const json golden = read_golden(std::string("text/ids_") + name + ".json"),
             all = read_golden("text/strings.json");
  const json& strings = all["strings"];
  REQUIRE(strings.size() >= 2000);
  REQUIRE(golden["plain"].size() == strings.size());
  const std::string start = t->decode(t->encode("a", true), true) == "a" ? "" : " ";
  for (size_t i = 0; i < strings.size(); ++i) {
    CAPTURE(i);
    const std::string text = strings[i].get<std::string>();
    const Ids plain = golden["plain"][i].get<Ids>(), ids = t->encode(text, false);
    CHECK(ids == plain);
    // U+2581 itself comes back as a space.
    const bool has_mark = text.find("\xE2\x96\x81") != std::string::npos;
    if (!has_mark && !text.empty()) CHECK(t->decode(ids, false) == start + text);
    Utf8Stream stream;
    std::string streamed;
    for (const int32_t id : ids) streamed += stream.push(t->token_bytes(id, false));
    if (!has_mark && !text.empty()) CHECK(streamed + stream.flush() == start + text);
  }
  const json &marks = golden["marks"], &marked = golden["marked"];
  REQUIRE(marked.size() * 40 + 1 >= strings.size());
  for (size_t i = 0; i < marked.size(); ++i) {
    const auto text = [&](const json& part) { return part.get<std::string>(); };
    const std::string all_of =
        text(marks[0]) + text(strings[i * 40]) + text(marks[1]) + text(strings[i * 40 + 1]);
    CHECK(t->encode(all_of, true) == marked[i].get<Ids>());
    CHECK(t->encode(all_of, false) != marked[i].get<Ids>());
  }
}

}  // namespace

TEST_CASE("sentencepiece golden: Llama 2's vocabulary") {
  check_vocabulary("llama-spm", "NUTSHELL_VOCAB_LLAMA_SPM");
}

// The file's licence has to be accepted by whoever fetches it, so it is part of scripts/test --full only.
TEST_CASE("sentencepiece golden: Gemma 3's vocabulary" *
          doctest::skip(std::getenv("NUTSHELL_FULL") == nullptr)) {
  check_vocabulary("gemma3", "NUTSHELL_MODEL_GEMMA3");
}

TEST_CASE("sentencepiece: Phi-3's file with its many unknown tokens loads") {
  const auto t = make(testing::read_tokenizer(testing::required_path("NUTSHELL_VOCAB_PHI_3")));
  CHECK(t->encode("<|user|>", true).size() == 1);
  CHECK(t->is_end(t->encode("<|end|>", true)[0]));
  CHECK(t->is_end(t->encode("<|endoftext|>", true)[0]));
}

TEST_CASE("sentencepiece: scores, leading space, control tokens, byte fallback") {
  TokenizerData data = small();
  const auto t = make(data);
  CHECK(t->encode("ab", false) == Ids{kFirst + 4});
  CHECK(t->encode("abab", false) == Ids{kFirst + 4, kFirst + 3});
  CHECK(t->encode("", false).empty());
  CHECK(t->encode("</s>ab", true) == Ids{2, kFirst + 4});
  CHECK(t->encode("ab</s>", false).size() == 5);
  CHECK(t->encode("\xC3\xA9", false) == Ids{kFirst, 3 + 0xC3, 3 + 0xA9});
  CHECK(t->encode("a\xFF\xC3", false) == Ids{kFirst, kFirst + 1, 3 + 0xFF, 3 + 0xC3});
  CHECK(t->decode(Ids{1, kFirst + 4, 3 + 0xC3, 3 + 0xA9, 2}, false) == " ab\xC3\xA9");
  CHECK(t->decode(Ids{1, 0, 2}, true) == "<s><unk></s>");
  CHECK(t->is_end(2));
  CHECK(t->type(3) == TokenType::byte);
  CHECK(t->token_bytes(-1, true).empty());
  CHECK(t->token_bytes(100000, true).empty());
  data.add_space_prefix = false;
  CHECK(make(data)->encode("ab", false) == Ids{kFirst + 3});
  data.add_bos = data.add_eos = true;
  CHECK(make(data)->prefix()[0] == 1);
  CHECK(make(data)->suffix()[0] == 2);
}

TEST_CASE("sentencepiece: user-defined tokens always, spaces in them as files write them") {
  TokenizerData data = small();
  data.add_space_prefix = false;
  const auto id = static_cast<int32_t>(data.tokens.size());
  add(data, "  ", TokenType::user_defined);
  add(data, "bab", TokenType::user_defined);
  const auto t = make(data);
  CHECK(t->encode("a  b", false) == Ids{kFirst + 1, id, kFirst + 2});
  CHECK(t->encode("abab", false) == Ids{kFirst + 1, id + 1});
  CHECK(t->decode(Ids{id, id + 1}, false) == "  bab");
}

TEST_CASE("sentencepiece: without byte tokens a run of unknown characters is one") {
  const auto t = make(small(false));
  CHECK(t->encode("xyz", false) == Ids{3, 0});
  CHECK(t->encode("xay\xFFz", false) == Ids{3, 0, 4, 0, 0});
}

TEST_CASE("sentencepiece: hostile texts of half a megabyte") {
  TokenizerData data = small();
  for (const char* text : {"aa", "aaaa", "\xE2\x96\x81\xE2\x96\x81"}) add(data, text, TokenType::normal, -1);
  const auto t = make(data);
  for (const char* piece : {"a", "ab", " ", "\xFF", "\xE4\xB8\xAD", "</s>"}) {
    std::string text;
    while (text.size() < (1u << 19)) text += piece;
    CHECK(!t->encode(text, true).empty());
  }
}

TEST_CASE("sentencepiece: hostile vocabularies have their message") {
  const auto check = [](auto change, ErrorCode code, const char* part) {
    TokenizerData data = small();
    change(data);
    const auto made = make_tokenizer(data);
    REQUIRE(!made.ok());
    CAPTURE(made.status().message());
    CHECK(made.status().code() == code);
    CHECK(made.status().message().find(part) != std::string::npos);
  };
  using D = TokenizerData;
  const auto corrupt = ErrorCode::corrupt_file, limit = ErrorCode::limit_exceeded;
  check([](D& d) { d.scores.clear(); }, corrupt, "0 scores");
  check([](D& d) { d.types.clear(); }, corrupt, "no token types");
  check([](D& d) { d.tokens[kFirst + 1].clear(); }, corrupt, "is empty");
  check([](D& d) { d.scores[kFirst] = std::nanf(""); }, corrupt, "has no score");
  check([](D& d) { d.tokens[7] = "<0xGG>"; }, corrupt, "no byte token");
  check([](D& d) { d.types[7] = 1; }, corrupt, "256 byte");
  check([](D& d) { d.types[0] = 1; }, corrupt, "unknown");
  check([](D& d) { d.tokens.back() = "a"; }, corrupt, "both 'a'");
  check([](D& d) { d.types[kFirst] = 99; }, corrupt, "type 99");
  check([](D& d) { add(d, std::string("a\0b", 3), TokenType::user_defined); }, corrupt, "zero byte");
  check([](D& d) { add(d, std::string(600, 'u'), TokenType::unused); }, limit, "unused");
  check([](D& d) { add(d, std::string(600, 'u'), TokenType::control); }, limit, "600 bytes");
  check(
      [](D& d) {
        for (size_t n = 1; n <= 65; ++n) add(d, std::string(n, 'z'), TokenType::user_defined);
      },
      limit, "65 begin alike");
  check(
      [](D& d) {  // alike only once the spaces are U+2581
        std::string marks;
        for (size_t n = 1; n <= 70; ++n) {
          marks += "\xE2\x96\x81";
          add(d, n % 2 ? marks + "x" : std::string(n, ' '), TokenType::user_defined);
          add(d, n % 2 ? std::string(n, ' ') + "xx" : marks + "xx", TokenType::user_defined);
        }
        for (size_t n = 71; n <= 110; ++n) add(d, std::string(n, ' '), TokenType::user_defined);
      },
      limit, "begin alike");
  check(
      [](D& d) {
        for (int n = 0; n < 3000; ++n)
          add(d, std::to_string(n) + std::string(400, 'z'), TokenType::user_defined);
      },
      limit, "user-defined");
  check([](D& d) { add(d, "  ", TokenType::user_defined), add(d, "\xE2\x96\x81 ", TokenType::user_defined); },
        corrupt, "already defined");
}

TEST_CASE("sentencepiece: model files are read, what is none or normalises is refused") {
  const std::string pieces = small_model_pieces(), &bpe = kModelBpe, &plain = kModelNoPrefix;
  const auto data = sentencepiece_data(pieces + bpe + plain);
  REQUIRE_MESSAGE(data.ok(), data.status().message());
  CHECK(data->bos == 1);
  CHECK(data->eos == 2);
  CHECK(data->add_bos);
  CHECK(!data->add_space_prefix);
  const auto t = make(*data);
  CHECK(t->encode("a  a", false) == Ids{3, 5, 3});
  CHECK(t->decode(Ids{3, 5, 3}, false) == "a  a");
  CHECK(sentencepiece_data("no model").status().code() == ErrorCode::corrupt_file);
  CHECK(sentencepiece_data(pieces + plain).status().code() == ErrorCode::unsupported_tokenizer);  // unigram
  CHECK(sentencepiece_data(pieces + bpe).status().code() == ErrorCode::unsupported_tokenizer);
  for (size_t n = 0; n < pieces.size(); ++n) (void)sentencepiece_data(pieces.substr(0, n)).ok();
}
