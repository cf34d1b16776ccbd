// BERT's tokenizer: the text is cleaned (controls out, white space to spaces, CJK characters apart, accents
// stripped and lower case for uncased models), cut into words at spaces and punctuation, and each word is
// covered from the left by the longest tokens, or is unknown as a whole. Ids equal those of Hugging Face
// tokenizers' BertNormalizer, BertPreTokenizer and WordPiece (google-research/bert, tokenization.py is the
// origin). Invalid bytes are removed like U+FFFD.
#include "text/wordpiece.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <unordered_map>

#include "text/token_ids.h"
#include "text/unicode.h"
#include "text/utf8.h"
#include "text/vocabulary_tokenizer.h"

namespace nutshell {
namespace {

#include "text/unicode_bert.inc"

constexpr std::string_view kWordStart = "\xE2\x96\x81";  // U+2581
constexpr size_t kMaxWordCharacters = 100;               // longer ones are unknown, as in BERT
constexpr uint32_t kReplacement = 0xFFFD;

using Characters = std::vector<uint32_t>;

template <size_t N>
bool in_ranges(const uint32_t (&ranges)[N], uint32_t c) {
  size_t low = 0, high = N / 2;  // first range whose end is not before c
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (ranges[middle * 2 + 1] < c) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < N / 2 && ranges[low * 2] <= c;
}

bool is_chinese(uint32_t c) {  // the blocks BERT names
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

uint32_t lower(uint32_t c) {
  constexpr size_t kRows = std::size(kLower) / 4;
  size_t low = 0, high = kRows;  // first row whose end is not before c; interleaved rows start close together
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (static_cast<uint32_t>(kLower[middle * 4 + 1]) < c) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == kRows) return c;
  const auto first = static_cast<uint32_t>(kLower[low * 4]),
             step = static_cast<uint32_t>(kLower[low * 4 + 2]);
  const bool mapped = c >= first && (c - first) % step == 0;
  return mapped ? c + static_cast<uint32_t>(kLower[low * 4 + 3]) : c;
}

Characters clean(std::string_view text) {
  Characters in, out;
  append_characters(text, in);
  out.reserve(in.size());
  for (uint32_t c : in) {
    if (c >= kInvalidByte) c = kReplacement;
    if (in_ranges(kRemoved, c)) continue;
    if (char_class(c) == CharClass::space) c = ' ';
    if (is_chinese(c)) {
      out.insert(out.end(), {' ', c, ' '});
    } else {
      out.push_back(c);
    }
  }
  return out;
}

Characters without_accents_and_case(const Characters& text) {
  Characters out;
  out.reserve(text.size());
  for (const uint32_t c : decompose_nfd(text)) {
    if (!in_ranges(kMarks, c)) out.push_back(lower(c));
  }
  return out;
}

class WordPieceTokenizer final : public VocabularyTokenizer {
 public:
  WordPieceTokenizer(Vocabulary vocabulary, int32_t unknown, bool lowercase)
      : VocabularyTokenizer(std::move(vocabulary), Literals::control_and_user_defined),
        unknown_(unknown),
        lowercase_(lowercase) {
    for (int32_t id = 0; id < vocabulary_.size(); ++id) {
      const std::string_view bytes = vocabulary_.bytes(id);
      if (bytes.empty() || vocabulary_.type(id) != TokenType::normal) continue;
      // A token that begins a word has a space before it (see append_bytes).
      (bytes[0] == ' ' ? starts_ : continues_).emplace(bytes[0] == ' ' ? bytes.substr(1) : bytes, id);
      longest_ = std::max(longest_, bytes.size());
    }
  }

 private:
  void encode_plain(std::string_view text, std::vector<int32_t>& out) const override {
    Characters characters = clean(text);
    if (lowercase_) characters = without_accents_and_case(characters);
    std::string word;
    size_t n_characters = 0;
    const auto flush = [&] {
      if (!word.empty()) encode_word(word, n_characters, out);
      word.clear();
      n_characters = 0;
    };
    for (const uint32_t c : characters) {
      const bool space = char_class(c) == CharClass::space, alone = in_ranges(kPunctuation, c);
      if (space || alone) flush();
      if (space) continue;
      append_utf8(word, c);
      ++n_characters;
      if (alone) flush();
    }
    flush();
  }

  // At most kMaxWordCharacters look-ups per token, so a word costs a bounded amount.
  void encode_word(std::string_view word, size_t n_characters, std::vector<int32_t>& out) const {
    const size_t before = out.size();
    for (size_t begin = 0; begin < word.size();) {
      const auto& tokens = begin == 0 ? starts_ : continues_;
      size_t length = n_characters > kMaxWordCharacters ? 0 : std::min(word.size() - begin, longest_);
      auto found = tokens.end();
      for (; length > 0 && found == tokens.end(); --length) found = tokens.find(word.substr(begin, length));
      if (found == tokens.end()) {
        out.resize(before);
        out.push_back(unknown_);
        return;
      }
      out.push_back(found->second);
      begin += length + 1;
    }
  }

  const int32_t unknown_;
  const bool lowercase_;
  std::unordered_map<std::string_view, int32_t> starts_, continues_;  // views into vocabulary_
  size_t longest_ = 0;
};

// U+2581 stands for the space before a word.
void append_bytes(std::string_view text, TokenType, std::string& out) {
  const bool begins = text.starts_with(kWordStart);
  if (begins) out += ' ';
  out += begins ? text.substr(kWordStart.size()) : text;
}

// The id the file names, or that of the token with BERT's name for it.
Status find_token(const TokenizerData& data, const char* name, int32_t& id) {
  if (id >= 0) return {};
  const auto it = std::find(data.tokens.begin(), data.tokens.end(), name);
  if (it == data.tokens.end())
    return {ErrorCode::corrupt_file, std::string("the WordPiece vocabulary has no token ") + name};
  id = static_cast<int32_t>(it - data.tokens.begin());
  return {};
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_wordpiece_tokenizer(TokenizerData data) {
  if (data.cls < 0) data.cls = data.bos;  // the two names a GGUF file has for it
  RETURN_IF_ERROR(find_token(data, "[CLS]", data.cls));
  RETURN_IF_ERROR(find_token(data, "[SEP]", data.separator));
  RETURN_IF_ERROR(find_token(data, "[UNK]", data.unknown));
  ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::build(data, append_bytes));
  RETURN_IF_ERROR(TokenIds::build(data.tokens).status());  // no text twice
  return std::unique_ptr<Tokenizer>(
      std::make_unique<WordPieceTokenizer>(std::move(vocabulary), data.unknown, data.lowercase));
}

std::string gguf_word_piece(std::string_view token) {
  if (token.starts_with("##")) return std::string(token.substr(2));
  return std::string(kWordStart) + std::string(token);
}

bool is_bert_control(std::string_view token) {
  static constexpr std::string_view kControl[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  return std::find(std::begin(kControl), std::end(kControl), token) != std::end(kControl);
}

TokenizerData wordpiece_data(std::vector<std::string> tokens, bool lowercase) {
  TokenizerData data;
  data.model = "bert";
  data.lowercase = lowercase;
  data.types.reserve(tokens.size());
  for (std::string& token : tokens) {
    const bool control = is_bert_control(token);
    data.types.push_back(static_cast<int32_t>(control ? TokenType::control : TokenType::normal));
    if (!control) token = gguf_word_piece(token);
  }
  data.tokens = std::move(tokens);
  return data;
}

}  // namespace nutshell
