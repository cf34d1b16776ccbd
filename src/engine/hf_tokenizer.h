// The tokenizer of a Hugging Face folder as metadata by GGUF's keys. L5: sees the file (model/) and the table
// of pre-tokenizers (text/).
#pragma once

#include <string>

#include "model/hf/json.h"
#include "model/metadata_builder.h"

namespace nutshell {

struct HfTokenizerFiles {
  HfConfig tokenizer;         // tokenizer.json; empty when there is none
  HfConfig settings;          // tokenizer_config.json
  HfConfig generation;        // generation_config.json
  std::string vocab_txt;      // one word piece per line, where tokenizer.json is missing
  std::string sentencepiece;  // tokenizer.model, where tokenizer.json is missing
  std::string chat_template;  // chat_template.jinja
};

// Adds tokenizer.ggml.* and tokenizer.chat_template. The vocabulary is filled up to config's vocab_size.
// Kinds: byte-level BPE, BPE with byte fallback (SentencePiece's), SentencePiece models, WordPiece. Errors:
// unsupported_tokenizer (names what is not supported, lists what is), missing_part, corrupt_file,
// limit_exceeded.
Status add_hf_tokenizer(const HfTokenizerFiles& files, const HfConfig& config, MetadataBuilder& out);

}  // namespace nutshell
