// Fuzz target of the byte-level BPE tokenizer: any vocabulary is either refused with a typed error or encodes
// any text into ids of that vocabulary; with all byte tokens present the text comes back (after NFC where the
// kind has it). Built by libFuzzer with the preset "fuzz" (see CONTRIBUTING.md); the unit tests run the same
// function over deterministic inputs (tests/unit/text/tokenizer_fuzz_test.cpp).
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/require.h"
#include "support/small_vocabulary.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace nutshell::fuzz {

// Cuts the front off `input` up to the next 0xFE byte, which no UTF-8 text has.
inline std::string_view take_field(std::string_view& input) {
  const size_t end = std::min(input.find('\xFE'), input.size());
  const std::string_view field = input.substr(0, end);
  input.remove_prefix(std::min(end + 1, input.size()));
  return field;
}

inline std::string kind_of(uint8_t choice) {
  static constexpr const char* kKinds[] = {"gpt-2",        "smollm", "llama-bpe", "qwen2",   "gpt-4o",
                                           "deepseek-llm", "qwen35", "falcon",    "default", "deepseek-v3"};
  return kKinds[choice % std::size(kKinds)];
}

inline void check_encoding(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool special : {false, true}) {
    for (const int32_t id : tokenizer.encode(text, special)) require(id >= 0 && id < tokenizer.n_vocab());
  }
}

// All bytes have tokens; the input adds merges ("left right" as bytes) and literal tokens.
inline void fuzz_text(std::string_view input, uint8_t choice) {
  testing::SmallVocabulary vocabulary(kind_of(choice));
  for (int i = 0; i < 6; ++i) {
    const std::string_view field = take_field(input);
    if (field.empty() || field.size() > 64) continue;
    std::string token = testing::mapped(field);
    auto& tokens = vocabulary.data.tokens;
    if (i < 4 && field.size() == 2) {
      if (std::find(tokens.begin(), tokens.end(), token) == tokens.end())
        vocabulary.merge(field.substr(0, 1), field.substr(1));
    } else if (std::find(tokens.begin(), tokens.end(), std::string(field)) == tokens.end()) {
      vocabulary.add(std::string(field), i % 2 ? TokenType::control : TokenType::user_defined);
    }
  }
  const auto tokenizer = make_tokenizer(vocabulary.data);
  if (!tokenizer.ok()) return;
  check_encoding(**tokenizer, input);
  const auto pre = PreTokenizer::make(vocabulary.data.pre);
  const std::string back = (*tokenizer)->decode((*tokenizer)->encode(input, false), true);
  if (!pre->nfc()) {
    require(back == input);
  } else if (input.size() < 4096) {
    require(normalize_nfc(back) == normalize_nfc(input));  // a literal token may part what would compose
  }
}

// Everything about the vocabulary comes from the input.
inline void fuzz_vocabulary(std::string_view input, uint8_t choice) {
  TokenizerData data;
  static constexpr const char* kModels[] = {"gpt2", "llama", "bert", "gpt2"};
  data.model = kModels[input.size() % 4];
  data.pre = choice % 11 == 10 ? std::string(take_field(input)) : kind_of(choice);
  const std::string_view text = take_field(input);
  for (int i = 0; i < 200 && !input.empty(); ++i) {
    const std::string_view field = take_field(input);
    if (field.find(' ', 1) < field.size()) {
      data.merges.emplace_back(field);
    } else {
      data.tokens.emplace_back(field);
      data.types.push_back(field.empty() ? 1 : static_cast<uint8_t>(field[0]) % 8);
    }
  }
  for (size_t i = 0; i < data.tokens.size(); ++i) data.scores.push_back(static_cast<float>(i * 7 % 5));
  if (data.model == "bert" && choice & 0x10) {
    for (const char* name : {"[CLS]", "[SEP]", "[UNK]"}) {
      data.tokens.emplace_back(name);
      data.types.push_back(static_cast<int32_t>(TokenType::control));
      data.scores.push_back(0);
    }
  }
  if (data.model == "llama" && choice & 0x10) {
    data.unknown = static_cast<int32_t>(data.tokens.size());
    data.tokens.emplace_back("<unk>");
    data.types.push_back(static_cast<int32_t>(TokenType::unknown));
    data.scores.push_back(0);
  }
  if (choice & 0x40) data.types.clear();
  data.eos = choice & 0x20 ? static_cast<int32_t>(text.size()) : -1;
  const auto tokenizer = make_tokenizer(data);
  if (!tokenizer.ok()) {
    require(tokenizer.status().code() == ErrorCode::corrupt_file ||
            tokenizer.status().code() == ErrorCode::limit_exceeded ||
            tokenizer.status().code() == ErrorCode::unsupported_tokenizer);
    return;
  }
  check_encoding(**tokenizer, text);
  for (int32_t id = -2; id < (*tokenizer)->n_vocab() + 2; ++id) {
    (*tokenizer)->token_bytes(id, true);
    (*tokenizer)->is_end(id);
  }
}

inline int run(const uint8_t* bytes, size_t n) {
  if (n == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(bytes) + 1, n - 1);
  const uint8_t choice = bytes[0];
  if (choice & 0x80) {
    fuzz_vocabulary(input, choice & 0x7F);
  } else {
    fuzz_text(input, choice);
  }
  return 0;
}

}  // namespace nutshell::fuzz

#ifndef NUTSHELL_FUZZ_INCLUDED  // the unit tests call run() and have another target's entry point
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t n) {
  return nutshell::fuzz::run(bytes, n);
}
#endif
