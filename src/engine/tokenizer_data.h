// Reads what a tokenizer needs out of GGUF metadata. L5: the seam between model/ and text/.
#pragma once

#include "base/result.h"
#include "model/gguf.h"
#include "text/tokenizer.h"

namespace nutshell {

// Errors: missing_metadata, corrupt_file (an id outside the vocabulary, lists of different lengths).
Result<TokenizerData> read_tokenizer_data(const GgufFile& file);

}  // namespace nutshell
