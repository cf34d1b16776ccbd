// SentencePiece BPE (tokenizer.ggml.model = "llama": Llama 2, Mistral, Gemma, Phi-3). L4; inside text/, made
// by make_tokenizer. The only place that sees the sentencepiece library.
#pragma once

#include <memory>
#include <string_view>

#include "text/tokenizer.h"

namespace nutshell {

// Errors: corrupt_file, limit_exceeded, with names and numbers.
Result<std::unique_ptr<Tokenizer>> make_sentencepiece_tokenizer(const TokenizerData& data);

// The data of a SentencePiece model file (`tokenizer.model`). Errors: corrupt_file; unsupported_tokenizer
// (only models of type BPE without normalisation rules: what the families above use).
Result<TokenizerData> sentencepiece_data(std::string_view model_file);

}  // namespace nutshell
