// Texts to vectors with an embedding model: tokens, one step of the model over all of them, pooling,
// normalisation. L5.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/model.h"

namespace nutshell {

struct TextEmbedding {
  std::vector<float> values;  // n_embd
  int64_t n_tokens = 0;       // that the model read, first and last one included
  bool truncated = false;     // the text had more: only its beginning counts
};

// The vector of a text as sentence-transformers makes it: the tokens stand between the model's first and last
// one ([CLS], [SEP]; special tokens in the text are recognised); a text that is longer than the model reads
// is cut, keeping both; the tokens' vectors are pooled as the model file says, and divided by the result's
// length where it says so (a file that says nothing: mean, length 1). The sum runs in double precision.
// Errors: no_embeddings (a language model), context_full (no room for a token), invalid_argument (a text
// without any).
Result<TextEmbedding> embed_text(Model& model, std::string_view text);

}  // namespace nutshell
