// Byte-level BPE: literal tokens are cut out, the rest is normalised (some kinds), cut into pieces, and each
// piece's bytes are merged. Ids equal those of Hugging Face tokenizers for valid text.
//
// Where the vocabulary lacks the token of a byte (SmolLM2: 21 of 256), that byte gives no token, as in
// Hugging Face and llama.cpp; with all 256 present every text comes back as it was (after NFC where the kind
// has it).
#include "text/bpe.h"

#include <algorithm>
#include <unordered_map>

#include "text/merge_table.h"
#include "text/pretokenize.h"
#include "text/token_ids.h"
#include "text/vocabulary_tokenizer.h"

namespace nutshell {
namespace {

class BpeTokenizer final : public VocabularyTokenizer {
 public:
  BpeTokenizer(Vocabulary vocabulary, MergeTable merges, PreTokenizer pre)
      : VocabularyTokenizer(std::move(vocabulary), Literals::control_and_user_defined),
        merges_(std::move(merges)),
        pre_(std::move(pre)) {
    std::fill(std::begin(byte_id_), std::end(byte_id_), -1);
    for (int32_t id = 0; id < vocabulary_.size(); ++id) {
      const std::string_view bytes = vocabulary_.bytes(id);
      if (bytes.empty() || vocabulary_.type(id) != TokenType::normal) continue;
      if (bytes.size() == 1) byte_id_[static_cast<uint8_t>(bytes[0])] = id;
      if (pre_.ignore_merges()) whole_.emplace(bytes, id);
    }
  }

 private:
  struct Work {
    std::vector<int32_t> ids;
    MergeTable::Scratch scratch;
  };

  void encode_plain(std::string_view text, std::vector<int32_t>& out) const override {
    Work work;
    std::string normal;
    if (pre_.nfc()) {
      normal = normalize_nfc(text);
      text = normal;
    }
    size_t begin = 0;
    for (const size_t end : pre_.split(text)) {
      encode_piece(text.substr(begin, end - begin), out, work);
      begin = end;
    }
  }

  void encode_piece(std::string_view piece, std::vector<int32_t>& out, Work& work) const {
    if (pre_.ignore_merges()) {
      const auto whole = whole_.find(piece);
      if (whole != whole_.end()) {
        out.push_back(whole->second);
        return;
      }
    }
    work.ids.clear();
    for (const char c : piece) {
      const int32_t id = byte_id_[static_cast<uint8_t>(c)];
      if (id >= 0) work.ids.push_back(id);
    }
    merges_.apply(work.ids, work.scratch);
    out.insert(out.end(), work.ids.begin(), work.ids.end());
  }

  const MergeTable merges_;
  const PreTokenizer pre_;
  std::unordered_map<std::string_view, int32_t> whole_;  // bytes of normal tokens (views into vocabulary_)
  int32_t byte_id_[256];
};

// "left right" by rank -> ids.
Result<std::vector<Merge>> read_merges(const TokenizerData& data, const TokenIds& ids) {
  std::vector<Merge> merges;
  merges.reserve(data.merges.size());
  for (const std::string& text : data.merges) {
    const size_t space = text.find(' ', 1);  // a token's text has none: the mapping turns it into U+0120
    if (space == std::string::npos || space + 1 == text.size()) {
      return Status(ErrorCode::corrupt_file, "merge " + std::to_string(merges.size()) + " is " +
                                                 token_text(text) + ", not two tokens");
    }
    const std::string_view left = std::string_view(text).substr(0, space),
                           right = std::string_view(text).substr(space + 1);
    // Trained vocabularies number their tokens in the order of the merges.
    const int32_t guess = merges.empty() ? -1 : merges.back().result + 1;
    const Merge merge{ids.find(left), ids.find(right), ids.find(left, right, guess)};
    if (merge.left < 0 || merge.right < 0 || merge.result < 0) {
      return Status(ErrorCode::corrupt_file,
                    "merge " + std::to_string(merges.size()) + ", " + token_text(text) + ": " +
                        token_text(merge.left < 0    ? std::string(left)
                                   : merge.right < 0 ? std::string(right)
                                                     : std::string(left).append(right)) +
                        " is not in the vocabulary");
    }
    merges.push_back(merge);
  }
  return merges;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_bpe_tokenizer(const TokenizerData& data) {
  ASSIGN_OR_RETURN(PreTokenizer pre, PreTokenizer::make(data.pre));
  ASSIGN_OR_RETURN(Vocabulary vocabulary,
                   Vocabulary::build(data, [](std::string_view text, TokenType, std::string& out) {
                     append_byte_level(text, out);
                   }));
  ASSIGN_OR_RETURN(const TokenIds ids, TokenIds::build(data.tokens));
  ASSIGN_OR_RETURN(std::vector<Merge> merges, read_merges(data, ids));
  ASSIGN_OR_RETURN(MergeTable table, MergeTable::build(std::move(merges), vocabulary.size()));
  return std::unique_ptr<Tokenizer>(
      std::make_unique<BpeTokenizer>(std::move(vocabulary), std::move(table), std::move(pre)));
}

}  // namespace nutshell
