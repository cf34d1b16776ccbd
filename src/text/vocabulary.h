// A checked vocabulary: the bytes and type of every token. L4; inside text/. What all tokenizer kinds share.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace nutshell {

// The bytes a normal token's text stands for in byte-level BPE: each character is one byte in GPT-2's mapping
// (openai/gpt-2, encoder.py, bytes_to_unicode: printable Latin-1 as itself, the other 68 from U+0100 on).
// Characters outside the mapping stand for their own UTF-8 bytes.
void append_byte_level(std::string_view text, std::string& out);

class Vocabulary {
 public:
  // Checks counts, types and ids, and keeps bytes, types and the tokens that end a generation.
  // append_bytes: puts the bytes that the text of a normal, unused or byte token stands for behind out; other
  // texts stand for themselves. Duplicates are TokenIds' business. Errors: limit_exceeded, corrupt_file, with
  // names and numbers.
  using AppendBytes = void (*)(std::string_view text, TokenType type, std::string& out);
  static Result<Vocabulary> build(const TokenizerData& data, AppendBytes append_bytes);

  int32_t size() const { return static_cast<int32_t>(types_.size()); }
  bool contains(int32_t id) const { return id >= 0 && id < size(); }
  // Precondition of both: contains(id).
  std::string_view bytes(int32_t id) const {
    const size_t i = static_cast<size_t>(id);
    return std::string_view(bytes_).substr(starts_[i], starts_[i + 1] - starts_[i]);
  }
  TokenType type(int32_t id) const { return types_[static_cast<size_t>(id)]; }
  bool is_end(int32_t id) const;
  std::span<const int32_t> prefix() const { return prefix_; }
  std::span<const int32_t> suffix() const { return suffix_; }
  // token_bytes() of every kind, see tokenizer.h.
  std::string token_bytes(int32_t id, bool render_special) const;

 private:
  void find_ends(const TokenizerData& data);

  std::string bytes_;
  std::vector<size_t> starts_;
  std::vector<TokenType> types_;
  std::vector<int32_t> ends_, prefix_, suffix_;
};

// A token's text for a message: at most 40 bytes, printable ASCII, in quotes.
std::string token_text(std::string_view text);

}  // namespace nutshell
