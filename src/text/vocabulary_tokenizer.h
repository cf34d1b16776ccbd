// What the kinds of tokenizer share: the vocabulary's answers, and cutting a text at the tokens that stand in
// it literally. L4; inside text/. A kind says what the text between them becomes.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/literal_trie.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace nutshell {

class VocabularyTokenizer : public Tokenizer {
 public:
  int32_t n_vocab() const final { return vocabulary_.size(); }
  std::vector<int32_t> encode(std::string_view text, bool parse_special) const final;
  std::string token_bytes(int32_t id, bool render_special) const final {
    return vocabulary_.token_bytes(id, render_special);
  }
  bool is_end(int32_t id) const final { return vocabulary_.is_end(id); }
  TokenType type(int32_t id) const final {
    return vocabulary_.contains(id) ? vocabulary_.type(id) : TokenType::unknown;
  }
  std::span<const int32_t> prefix() const final { return vocabulary_.prefix(); }
  std::span<const int32_t> suffix() const final { return vocabulary_.suffix(); }

 protected:
  // Which tokens are cut out of the text; control tokens only when asked for, user-defined ones always.
  enum class Literals { control, control_and_user_defined };
  VocabularyTokenizer(Vocabulary vocabulary, Literals literals);

  // Appends the ids of a text, not empty, that holds no literal token.
  virtual void encode_plain(std::string_view text, std::vector<int32_t>& out) const = 0;

  const Vocabulary vocabulary_;  // the kinds keep views of its bytes

 private:
  LiteralTrie literals_;
};

}  // namespace nutshell
