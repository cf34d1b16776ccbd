#include "text/vocabulary_tokenizer.h"

namespace nutshell {

VocabularyTokenizer::VocabularyTokenizer(Vocabulary vocabulary, Literals literals)
    : vocabulary_(std::move(vocabulary)) {
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view bytes = vocabulary_.bytes(id);
    const TokenType type = vocabulary_.type(id);
    const bool always = type == TokenType::user_defined;
    if (!bytes.empty() &&
        (type == TokenType::control || (always && literals == Literals::control_and_user_defined)))
      literals_.add(bytes, id, always);
  }
}

std::vector<int32_t> VocabularyTokenizer::encode(std::string_view text, bool parse_special) const {
  std::vector<int32_t> out;
  for (size_t position = 0; position < text.size();) {
    const LiteralTrie::Match match = literals_.find(text, position, parse_special);
    if (match.begin > position) encode_plain(text.substr(position, match.begin - position), out);
    if (match.length > 0) out.push_back(match.id);
    position = match.begin + match.length;
  }
  return out;
}

}  // namespace nutshell
