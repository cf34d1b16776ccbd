// The library's model proto is rebuilt from pieces, scores and types, and its BPE model cuts the text; around
// it lie the special tokens, the space before a text, and byte fallback. Ids equal those of the library's
// SentencePieceProcessor. Three things differ on purpose: control tokens in the text are recognised when
// asked for, each stretch of text between them is a text of its own (as for llama.cpp: it gets its own
// leading space), and bytes that are no UTF-8 are kept by byte tokens instead of becoming U+FFFD.
//
// The library trusts its model: what it would overrun, abort or throw on is refused here (see check_pieces).
// Normalisation rules are not taken from files: the compiled trie they come as cannot be checked.
#include "text/sentencepiece.h"

#include <bpe_model.h>
#include <sentencepiece_model.pb.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <vector>

#include "text/token_ids.h"
#include "text/utf8.h"
#include "text/vocabulary_tokenizer.h"

namespace nutshell {
namespace {

using sentencepiece::ModelProto;
using Piece = ModelProto::SentencePiece;

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581 stands for a space in pieces

// Limits of the library's code: PrefixMatcher keeps 64 matches; an unused piece is taken apart by recursion;
// the double array of the user-defined symbols throws when it grows beyond its offsets.
constexpr size_t kMaxNestedSymbols = 64, kMaxUnusedBytes = 512, kMaxSymbolBytes = size_t{1} << 20;

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t found; (found = text.find(from)) != std::string_view::npos;) {
    out.append(text.substr(0, found)).append(to);
    text.remove_prefix(found + from.size());
  }
  return out.append(text);
}

// The byte of "<0x41>", or -1.
int byte_of(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  const int high = digit(text[3]), low = digit(text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void append_bytes(std::string_view text, TokenType type, std::string& out) {
  if (type == TokenType::byte) {
    out += static_cast<char>(byte_of(text));
  } else {
    out += replace_all(text, kSpace, " ");
  }
}

class SentencePieceTokenizer final : public VocabularyTokenizer {
 public:
  SentencePieceTokenizer(Vocabulary vocabulary, std::unique_ptr<ModelProto> proto, bool space_prefix)
      : VocabularyTokenizer(std::move(vocabulary), Literals::control),  // the library cuts user-defined ones
        proto_(std::move(proto)),
        model_(*proto_),
        space_prefix_(space_prefix) {
    std::fill(std::begin(byte_id_), std::end(byte_id_), -1);
    for (int32_t id = 0; id < vocabulary_.size(); ++id) {
      const std::string_view bytes = vocabulary_.bytes(id);
      if (!bytes.empty() && vocabulary_.type(id) == TokenType::byte)
        byte_id_[static_cast<uint8_t>(bytes[0])] = id;
    }
  }

  // What the library found wrong with the proto.
  Status status() const {
    return model_.status().ok()
               ? Status()
               : Status(ErrorCode::corrupt_file, "the vocabulary: " + model_.status().ToString());
  }

 private:
  void encode_plain(std::string_view text, std::vector<int32_t>& out) const override {
    std::string normal;
    normal.reserve(text.size() + text.size() / 2);
    if (space_prefix_) normal += kSpace;
    for (size_t i = 0; i < text.size();) {
      const Utf8Char c = read_utf8(text, i);
      if (c.kind != Utf8Char::Kind::valid) {
        encode_valid(normal, out);
        normal.clear();
        for (size_t j = 0; j < c.length; ++j) add_byte(text[i + j], out);
      } else if (c.code_point == ' ') {
        normal += kSpace;
      } else {
        normal.append(text, i, c.length);
      }
      i += c.length;
    }
    encode_valid(normal, out);
  }

  void encode_valid(std::string_view normal, std::vector<int32_t>& out) const {
    bool was_unknown = false;
    for (const auto& [piece, id] : model_.Encode(normal)) {
      const bool unknown = model_.IsUnknown(id);
      if (unknown && model_.ByteFallbackEnabled()) {
        for (const char byte : piece) add_byte(byte, out);
      } else if (!unknown || !was_unknown) {  // a run of unknown characters is one unknown token
        out.push_back(id);
      }
      was_unknown = unknown;
    }
  }

  void add_byte(char byte, std::vector<int32_t>& out) const {
    const int32_t id = byte_id_[static_cast<uint8_t>(byte)];
    if (id >= 0) out.push_back(id);
  }

  const std::unique_ptr<ModelProto> proto_;  // the library's model points into it
  const sentencepiece::bpe::Model model_;
  const bool space_prefix_;
  int32_t byte_id_[256];
};

// How many of the symbols are prefixes of one and the same text, at most.
size_t deepest_nesting(std::vector<std::string> symbols) {
  std::sort(symbols.begin(), symbols.end());
  std::vector<std::string_view> open;
  size_t deepest = 0;
  for (const std::string& symbol : symbols) {
    while (!open.empty() && !symbol.starts_with(open.back())) open.pop_back();
    open.push_back(symbol);
    deepest = std::max(deepest, open.size());
  }
  return deepest;
}

Status piece_error(ErrorCode code, size_t id, const std::string& text, const std::string& what) {
  return {code, "token " + std::to_string(id) + ", " + token_text(text) + ", " + what};
}

Status check_pieces(const TokenizerData& data) {
  if (data.scores.size() != data.tokens.size())
    return {ErrorCode::corrupt_file, "the vocabulary has " + std::to_string(data.tokens.size()) +
                                         " tokens but " + std::to_string(data.scores.size()) + " scores"};
  if (data.types.size() != data.tokens.size())
    return {ErrorCode::corrupt_file, "the vocabulary has no token types"};
  std::vector<std::string> symbols;  // as the library gets them
  size_t symbol_bytes = 0;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const std::string& text = data.tokens[id];
    const auto type = static_cast<TokenType>(data.types[id]);
    if (text.empty()) return piece_error(ErrorCode::corrupt_file, id, text, "is empty");
    if (std::isnan(data.scores[id])) return piece_error(ErrorCode::corrupt_file, id, text, "has no score");
    if (type == TokenType::byte && byte_of(text) < 0)
      return piece_error(ErrorCode::corrupt_file, id, text, "is no byte token such as '<0x41>'");
    if (type == TokenType::unused && text.size() > kMaxUnusedBytes)
      return piece_error(ErrorCode::limit_exceeded, id, text,
                         "is unused and has " + std::to_string(text.size()) + " bytes");
    if (type != TokenType::user_defined) continue;
    if (text.find('\0') != std::string::npos)
      return piece_error(ErrorCode::corrupt_file, id, text, "has a zero byte");
    symbols.push_back(replace_all(text, " ", kSpace));
    symbol_bytes += symbols.back().size();
  }
  const size_t nesting = deepest_nesting(std::move(symbols));
  if (nesting > kMaxNestedSymbols || symbol_bytes > kMaxSymbolBytes)
    return {ErrorCode::limit_exceeded, "the user-defined tokens have " + std::to_string(symbol_bytes) +
                                           " bytes and " + std::to_string(nesting) +
                                           " begin alike, allowed are " + std::to_string(kMaxSymbolBytes) +
                                           " and " + std::to_string(kMaxNestedSymbols)};
  return {};
}

// The one token of type unknown that the library wants: the file's, else the first of that type.
Result<size_t> unknown_token(const TokenizerData& data) {
  if (data.unknown >= 0) return static_cast<size_t>(data.unknown);
  const auto it = std::find(data.types.begin(), data.types.end(), static_cast<int32_t>(TokenType::unknown));
  if (it == data.types.end())
    return Status(ErrorCode::corrupt_file, "the vocabulary has no token for unknown characters");
  return static_cast<size_t>(it - data.types.begin());
}

Result<std::unique_ptr<ModelProto>> make_proto(const TokenizerData& data) {
  ASSIGN_OR_RETURN(const size_t unknown, unknown_token(data));
  auto proto = std::make_unique<ModelProto>();
  bool bytes = false;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    Piece& piece = *proto->add_pieces();
    auto type = static_cast<Piece::Type>(data.types[id]);
    if (type == Piece::UNKNOWN) type = Piece::CONTROL;
    if (id == unknown) type = Piece::UNKNOWN;
    bytes = bytes || type == Piece::BYTE;
    piece.set_type(type);
    piece.set_score(data.scores[id]);
    // GGUF files have plain spaces in user-defined tokens, U+2581 in the others.
    piece.set_piece(type == Piece::USER_DEFINED ? replace_all(data.tokens[id], " ", kSpace)
                                                : data.tokens[id]);
  }
  proto->mutable_trainer_spec()->set_model_type(sentencepiece::TrainerSpec::BPE);
  proto->mutable_trainer_spec()->set_byte_fallback(bytes);
  return proto;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_sentencepiece_tokenizer(const TokenizerData& data) {
  RETURN_IF_ERROR(check_pieces(data));
  ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::build(data, append_bytes));
  RETURN_IF_ERROR(TokenIds::build(data.tokens).status());  // no text twice
  ASSIGN_OR_RETURN(std::unique_ptr<ModelProto> proto, make_proto(data));
  auto tokenizer = std::make_unique<SentencePieceTokenizer>(std::move(vocabulary), std::move(proto),
                                                            data.add_space_prefix);
  RETURN_IF_ERROR(tokenizer->status());
  return std::unique_ptr<Tokenizer>(std::move(tokenizer));
}

Result<TokenizerData> sentencepiece_data(std::string_view model_file) {
  ModelProto proto;
  if (model_file.size() > (size_t{1} << 27) ||
      !proto.ParseFromArray(model_file.data(), static_cast<int>(model_file.size())))
    return Status(ErrorCode::corrupt_file, "this is not a SentencePiece model");
  const auto& trainer = proto.trainer_spec();
  const auto& normalizer = proto.normalizer_spec();
  if (trainer.model_type() != sentencepiece::TrainerSpec::BPE)
    return Status(ErrorCode::unsupported_tokenizer, "the SentencePiece model is not of type BPE");
  if (!normalizer.precompiled_charsmap().empty() || normalizer.remove_extra_whitespaces() ||
      !normalizer.escape_whitespaces() || trainer.treat_whitespace_as_suffix())
    return Status(ErrorCode::unsupported_tokenizer,
                  "the SentencePiece model normalises its text in a way that is not supported");
  TokenizerData data;
  data.model = "llama";
  data.add_space_prefix = normalizer.add_dummy_prefix();
  data.add_bos = trainer.bos_id() >= 0;
  data.bos = std::max(trainer.bos_id(), -1);
  data.eos = std::max(trainer.eos_id(), -1);
  data.unknown = std::max(trainer.unk_id(), -1);
  data.padding = std::max(trainer.pad_id(), -1);
  for (const Piece& piece : proto.pieces()) {
    const bool symbol = piece.type() == Piece::USER_DEFINED;
    data.tokens.push_back(symbol ? replace_all(piece.piece(), kSpace, " ") : piece.piece());
    data.scores.push_back(piece.score());
    data.types.push_back(static_cast<int32_t>(piece.type()));
  }
  return data;
}

}  // namespace nutshell
