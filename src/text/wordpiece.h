// WordPiece as BERT has it (tokenizer.ggml.model = "bert"). L4; inside text/, made by make_tokenizer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace nutshell {

// Errors: corrupt_file (also when [CLS], [SEP] or [UNK] is missing), limit_exceeded.
Result<std::unique_ptr<Tokenizer>> make_wordpiece_tokenizer(TokenizerData data);

// The data of a vocabulary as BERT publishes it (the lines of vocab.txt, model.vocab of a tokenizer.json, by
// id):
// "##x" continues a word. GGUF files write "x" for that and put U+2581 before the tokens that begin a word.
TokenizerData wordpiece_data(std::vector<std::string> tokens, bool lowercase);

}  // namespace nutshell
