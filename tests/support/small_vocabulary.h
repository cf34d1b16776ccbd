// A small byte-level BPE vocabulary built in memory: 256 byte tokens, some merges, special tokens.
#pragma once

#include <string>
#include <vector>

#include "text/tokenizer.h"
#include "text/utf8.h"

namespace nutshell::testing {

// GPT-2's character for a byte, computed as its encoder.py does (independent of src/text/vocabulary.cpp).
inline std::string mapped_byte(int byte) {
  const auto itself = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  };
  uint32_t c = static_cast<uint32_t>(byte);
  if (!itself(byte)) {
    c = 256;
    for (int b = 0; b < byte; ++b) c += !itself(b);
  }
  std::string out;
  append_utf8(out, c);
  return out;
}

inline std::string mapped(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += mapped_byte(static_cast<uint8_t>(c));
  return out;
}

struct SmallVocabulary {
  TokenizerData data;

  explicit SmallVocabulary(std::string pre = "gpt-2") {
    data.model = "gpt2";
    data.pre = std::move(pre);
    for (int b = 0; b < 256; ++b) add(mapped_byte(b), TokenType::normal);
  }
  int32_t add(const std::string& text, TokenType type) {
    data.tokens.push_back(text);
    data.types.push_back(static_cast<int32_t>(type));
    return static_cast<int32_t>(data.tokens.size()) - 1;
  }
  // Adds the merge of two texts (as bytes) and the token it makes; returns that token's id.
  int32_t merge(std::string_view left, std::string_view right) {
    data.merges.push_back(mapped(left) + " " + mapped(right));
    return add(mapped(std::string(left) + std::string(right)), TokenType::normal);
  }
};

}  // namespace nutshell::testing
