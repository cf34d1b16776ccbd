// nutshell tokenize: the ids of a text and what they give back.
#include "engine/tokenizer_data.h"
#include "text/utf8_stream.h"
#include "tools/commands.h"

namespace nutshell {

Answer run_tokenize(const TokenizeCommand& command) {
  std::string text = command.text;
  if (!command.file.empty()) {
    ASSIGN_OR_RETURN(text, read_text_file(command.file));
  }
  ASSIGN_OR_RETURN(const ModelHeader header, read_model_header(command.model));
  ASSIGN_OR_RETURN(TokenizerData data, read_tokenizer_data(header.metadata));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, make_tokenizer(std::move(data)));
  const std::vector<int32_t> ids = tokenizer->encode(text, !command.no_special);
  return nlohmann::json{{"tokens", ids}, {"text", tokenizer->decode(ids, true)}};
}

}  // namespace nutshell
