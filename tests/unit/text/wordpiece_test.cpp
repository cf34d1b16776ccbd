// WordPiece against transformers' ids (tests/golden/text/ids_minilm.json), and what can be wrong with its
// vocabulary.
#include "text/wordpiece.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "support/golden.h"
#include "support/vocabulary_file.h"

using namespace nutshell;
using nlohmann::json;
using Ids = std::vector<int32_t>;

namespace {

std::unique_ptr<Tokenizer> make(TokenizerData data) {
  auto made = make_tokenizer(std::move(data));
  REQUIRE_MESSAGE(made.ok(), made.status().message());
  return std::move(*made);
}

TokenizerData small(std::vector<std::string> more = {}) {
  std::vector<std::string> tokens = {"[PAD]", "[UNK]",  "[CLS]", "[SEP]", "un",
                                     "##aff", "##able", "want",  "a"};
  tokens.insert(tokens.end(), more.begin(), more.end());
  return wordpiece_data(tokens, true);
}

// The published form (vocab.txt) of tokens in the form of GGUF files.
std::vector<std::string> published(const TokenizerData& data) {
  std::vector<std::string> out;
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const std::string& token = data.tokens[i];
    const bool bracketed = token.starts_with("[") && token.ends_with("]");
    out.push_back(token.starts_with("\xE2\x96\x81") ? token.substr(3) : bracketed ? token : "##" + token);
  }
  return out;
}

}  // namespace

TEST_CASE("wordpiece golden: MiniLM and BGE, uncased and cased, as transformers") {
  const TokenizerData file = testing::read_tokenizer(testing::required_path("NUTSHELL_VOCAB_BERT_BGE"));
  const auto uncased = make(file), from_list = make(wordpiece_data(published(file), true)),
             cased = make(wordpiece_data(published(file), false));
  const json golden = test::read_golden("text/ids_minilm.json");
  auto texts = golden["words"].get<std::vector<std::string>>();
  const json strings = test::read_golden("text/strings.json");
  for (const json& text : strings["strings"]) texts.push_back(text.get<std::string>());
  REQUIRE(texts.size() >= 2000);
  REQUIRE(golden["special"].size() == texts.size());
  REQUIRE(golden["cased"].size() == (texts.size() + 4) / 5);
  for (size_t i = 0; i < texts.size(); ++i) {
    CAPTURE(i);
    const Ids expected = golden["special"][i].get<Ids>();
    CHECK(uncased->encode(texts[i], true) == expected);
    CHECK(from_list->encode(texts[i], true) == expected);
    const auto plain = golden["plain"].find(std::to_string(i));
    CHECK(uncased->encode(texts[i], false) ==
          (plain == golden["plain"].end() ? expected : plain->get<Ids>()));
    if (i % 5 == 0) CHECK(cased->encode(texts[i], true) == golden["cased"][i / 5].get<Ids>());
  }
  CHECK(Ids(uncased->prefix().begin(), uncased->prefix().end()) == Ids{101});
  CHECK(Ids(uncased->suffix().begin(), uncased->suffix().end()) == Ids{102});
  CHECK(from_list->prefix()[0] == 101);
}

TEST_CASE("wordpiece: longest first, unknown as a whole, invalid bytes, and back to text") {
  const auto t = make(small());
  CHECK(t->encode("UNaffable", true) == Ids{4, 5, 6});
  CHECK(t->encode("unwant", true) == Ids{1});
  CHECK(t->encode("a\xFF\xC3 \xE2\x82"
                  "a",
                  true) == Ids{8, 8});
  CHECK(t->encode("[CLS] a", true) == Ids{2, 8});
  CHECK(t->encode("[SEP]", false) == Ids{1, 1, 1});
  CHECK(t->encode(std::string(101, 'a'), true) == Ids{1});
  CHECK(t->decode(Ids{2, 4, 5, 6, 8, 3}, false) == " unaffable a");
  CHECK(t->decode(Ids{2, 8}, true) == "[CLS] a");
  CHECK(t->token_bytes(-1, true).empty());
  CHECK(t->token_bytes(99, true).empty());
  CHECK(t->type(99) == TokenType::unknown);
  CHECK(!t->is_end(8));
  CHECK(t->encode("", true).empty());
}

TEST_CASE("wordpiece: hostile texts take time in proportion to their size") {
  const auto t = make(small({std::string(4000, 'a'), "##a"}));
  for (const char* piece : {"a", "\xCC\x81\xCC\xA3", "[", "\xE4\xB8\xAD", " "}) {
    std::string text;
    while (text.size() < (1u << 19)) text += piece;
    CHECK(t->encode(text, true).size() <= text.size());
  }
}

TEST_CASE("wordpiece: everything that can be wrong has its message") {
  for (const char* name : {"[CLS]", "[SEP]", "[UNK]"}) {
    TokenizerData d = small();
    for (std::string& token : d.tokens)
      if (token == name) token = "gone";
    const auto made = make_tokenizer(d);
    REQUIRE(!made.ok());
    CHECK(made.status().code() == ErrorCode::corrupt_file);
    CHECK(made.status().message().find(name) != std::string::npos);
  }
  TokenizerData d = small();
  d.cls = 50;
  CHECK(make_tokenizer(d).status().message().find("cls token is 50") != std::string::npos);
  d = small({"a"});
  CHECK(make_tokenizer(d).status().code() == ErrorCode::corrupt_file);
  CHECK(make_tokenizer(wordpiece_data({}, true)).status().code() == ErrorCode::corrupt_file);
}
