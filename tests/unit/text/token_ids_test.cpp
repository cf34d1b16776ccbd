#include "text/token_ids.h"

#include <doctest/doctest.h>

using namespace nutshell;

namespace {

// FNV-1a, 64 bits; where the table puts a text.
size_t place(const std::string& text, size_t mask) {
  uint64_t h = 14695981039346656037u;
  for (const char c : text) h = (h ^ static_cast<uint8_t>(c)) * 1099511628211u;
  return static_cast<size_t>(h ^ h >> 32) & mask;
}

}  // namespace

TEST_CASE("token ids: texts, texts in two parts, none") {
  const std::vector<std::string> tokens = {"a", "", "ab", "abc", std::string("\0", 1), "\xff\xfe"};
  const auto ids = TokenIds::build(tokens);
  REQUIRE(ids.ok());
  for (size_t i = 0; i < tokens.size(); ++i) CHECK(ids->find(tokens[i]) == static_cast<int32_t>(i));
  CHECK(ids->find("a", "b") == 2);
  CHECK(ids->find("ab", "c") == 3);
  CHECK(ids->find("a", "bc") == 3);
  CHECK(ids->find("", "") == 1);
  CHECK(ids->find("", "a") == 0);
  CHECK(ids->find("b") == -1);
  CHECK(ids->find("ab", "cd") == -1);
  CHECK(ids->find("abcd") == -1);
}

TEST_CASE("token ids: many texts are all found") {
  std::vector<std::string> tokens;
  for (int i = 0; i < 50000; ++i) tokens.push_back("t" + std::to_string(i * 7919));
  const auto ids = TokenIds::build(tokens);
  REQUIRE(ids.ok());
  int wrong = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    wrong += ids->find(tokens[i]) != static_cast<int32_t>(i);
    wrong += ids->find("t", tokens[i].substr(1)) != static_cast<int32_t>(i);
    wrong += ids->find(tokens[i] + "x") != -1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("token ids: a text twice, texts chosen to collide") {
  const std::vector<std::string> twice = {"a", "b", "c", "b"};
  const auto refused = TokenIds::build(twice);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.status().code() == ErrorCode::corrupt_file);
  CHECK(refused.status().message() == "tokens 1 and 3 are both 'b'");

  constexpr size_t kTokens = 8191, kMask = 16383;  // 2 * kTokens + 2 slots
  std::vector<std::string> crowd;                  // all in the first eighth
  for (int i = 0; crowd.size() < kTokens; ++i)
    if (place(std::to_string(i), kMask) < (kMask + 1) / 8) crowd.push_back(std::to_string(i));
  const auto crowded = TokenIds::build(crowd);
  REQUIRE_FALSE(crowded.ok());
  CHECK(crowded.status().code() == ErrorCode::limit_exceeded);
}
