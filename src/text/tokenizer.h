// Text to token ids and back. L4, beside model; sees only base. The kinds are bpe.cpp (byte-level BPE),
// sentencepiece.cpp and wordpiece.cpp (BERT). A tokenizer is immutable after make_tokenizer and safe to use
// from many threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace nutshell {

// Token types as in GGUF (tokenizer.ggml.token_type).
enum class TokenType : int32_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

// What a model file says of its tokenizer (engine/ fills it from GGUF metadata). Everything is hostile input.
struct TokenizerData {
  std::string model;  // tokenizer.ggml.model: "gpt2", "llama" (SentencePiece) or "bert" (WordPiece)
  std::string pre;    // tokenizer.ggml.pre: "smollm", "qwen2", ...; empty when the file has none
  std::vector<std::string> tokens;                                             // by id
  std::vector<int32_t> types;                                                  // by id, empty when absent
  std::vector<float> scores;                                                   // by id, empty when absent
  std::vector<std::string> merges;                                             // "left right", by rank
  int32_t bos = -1, eos = -1, eot = -1, eom = -1, unknown = -1, padding = -1;  // -1: none
  int32_t cls = -1, separator = -1;                                            // WordPiece
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = true;  // SentencePiece: a text begins with a space of its own
  bool lowercase = true;         // WordPiece: also strips accents
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual int32_t n_vocab() const = 0;
  // Ids of text; no BOS or EOS is added. User-defined tokens that occur literally in the text always become
  // their ids; control tokens do with parse_special and are plain text without (as in llama.cpp; Hugging Face
  // always matches both). The leftmost match wins, then the longest. Any bytes are accepted: invalid UTF-8 is
  // kept byte by byte as far as the vocabulary has the byte's token.
  virtual std::vector<int32_t> encode(std::string_view text, bool parse_special) const = 0;
  // The bytes a token stands for. Control, unknown and unused tokens give their text when render_special,
  // else nothing. An id outside the vocabulary gives nothing. A token may end inside a character: see
  // utf8_stream.h.
  virtual std::string token_bytes(int32_t id, bool render_special) const = 0;
  // True for the tokens that end a generation: EOS, EOT, EOM and what the vocabulary names as such
  // (<|im_end|>, <|eot_id|>, <|endoftext|>, <end_of_turn> ... when of control type).
  virtual bool is_end(int32_t id) const = 0;
  virtual TokenType type(int32_t id) const = 0;
  // The tokens a whole text stands between as the model was trained: BOS and EOS where the file asks for
  // them, [CLS] and [SEP] for WordPiece. encode() adds none of them.
  virtual std::span<const int32_t> prefix() const = 0;
  virtual std::span<const int32_t> suffix() const = 0;

  std::string decode(std::span<const int32_t> ids, bool render_special) const {
    std::string out;
    for (int32_t id : ids) out += token_bytes(id, render_special);
    return out;
  }
};

// Errors: unsupported_tokenizer (names model/pre and lists what is supported), corrupt_file, limit_exceeded.
Result<std::unique_ptr<Tokenizer>> make_tokenizer(TokenizerData data);

}  // namespace nutshell
