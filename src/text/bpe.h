// Byte-level BPE (tokenizer.ggml.model = "gpt2"). L4; inside text/, made by make_tokenizer.
#pragma once

#include <memory>

#include "text/tokenizer.h"

namespace nutshell {

// Errors: unsupported_tokenizer (unknown pre-tokenizer), corrupt_file, limit_exceeded.
Result<std::unique_ptr<Tokenizer>> make_bpe_tokenizer(const TokenizerData& data);

}  // namespace nutshell
