// Chooses the kind of tokenizer a file asks for. The kinds are the other files of this folder.
#include "text/tokenizer.h"

#include "text/bpe.h"
#include "text/sentencepiece.h"
#include "text/vocabulary.h"
#include "text/wordpiece.h"

namespace nutshell {

Result<std::unique_ptr<Tokenizer>> make_tokenizer(TokenizerData data) {
  if (data.model == "gpt2") return make_bpe_tokenizer(data);
  if (data.model == "llama") return make_sentencepiece_tokenizer(data);
  if (data.model == "bert") return make_wordpiece_tokenizer(std::move(data));
  return Status(ErrorCode::unsupported_tokenizer, "tokenizer model " + token_text(data.model) +
                                                      " is not supported; known are 'gpt2' (byte-level BPE), "
                                                      "'llama' (SentencePiece) and 'bert' (WordPiece)");
}

}  // namespace nutshell
