// WordPiece as BERT has it (tokenizer.ggml.model = "bert"). L4; inside text/, made by make_tokenizer.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace nutshell {

// Errors: corrupt_file (also when [CLS], [SEP] or [UNK] is missing), limit_exceeded.
Result<std::unique_ptr<Tokenizer>> make_wordpiece_tokenizer(TokenizerData data);

// A token as BERT publishes it, where "##x" continues a word, in the form of GGUF files: "x" for that, and
// U+2581 before the tokens that begin a word. Not for control tokens, which both write alike.
std::string gguf_word_piece(std::string_view token);
// Whether a vocabulary without types means a control token: [PAD], [UNK], [CLS], [SEP], [MASK].
bool is_bert_control(std::string_view token);

// The data of a vocabulary as BERT publishes it (the lines of vocab.txt), by id.
TokenizerData wordpiece_data(std::vector<std::string> tokens, bool lowercase);

}  // namespace nutshell
