#include "engine/tokenizer_data.h"

namespace nutshell {
namespace {

Status copy_strings(const GgufFile& file, const char* key, std::vector<std::string>& out) {
  ASSIGN_OR_RETURN(const GgufStrings strings, file.get_strings(key));
  out.reserve(strings.size());
  for (size_t i = 0; i < strings.size(); ++i) out.emplace_back(strings[i]);
  return {};
}

Status read_special(const GgufFile& file, const char* name, size_t n_vocab, int32_t& out) {
  const std::string key = std::string("tokenizer.ggml.") + name;
  ASSIGN_OR_RETURN(const int64_t id, file.get_i64(key, -1));
  if (id < -1 || id >= static_cast<int64_t>(n_vocab))
    return {ErrorCode::corrupt_file, "'" + key + "' is " + std::to_string(id) +
                                         ", outside the vocabulary of " + std::to_string(n_vocab)};
  out = static_cast<int32_t>(id);
  return {};
}

}  // namespace

Result<TokenizerData> read_tokenizer_data(const GgufFile& file) {
  TokenizerData data;
  ASSIGN_OR_RETURN(data.model, file.get_string("tokenizer.ggml.model"));
  ASSIGN_OR_RETURN(data.pre, file.get_string("tokenizer.ggml.pre", ""));
  RETURN_IF_ERROR(copy_strings(file, "tokenizer.ggml.tokens", data.tokens));
  const size_t n_vocab = data.tokens.size();
  if (file.has("tokenizer.ggml.merges"))
    RETURN_IF_ERROR(copy_strings(file, "tokenizer.ggml.merges", data.merges));
  if (file.has("tokenizer.ggml.token_type")) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> types, file.get_i64s("tokenizer.ggml.token_type"));
    if (types.size() != n_vocab)
      return Status(ErrorCode::corrupt_file, "the vocabulary has " + std::to_string(n_vocab) +
                                                 " tokens but " + std::to_string(types.size()) +
                                                 " token types");
    for (int64_t type : types) {
      if (type < 1 || type > 6)
        return Status(ErrorCode::corrupt_file, "token type " + std::to_string(type) + " does not exist");
      data.types.push_back(static_cast<int32_t>(type));
    }
  }
  if (file.has("tokenizer.ggml.scores")) {
    ASSIGN_OR_RETURN(data.scores, file.get_f32s("tokenizer.ggml.scores"));
    if (data.scores.size() != n_vocab)
      return Status(ErrorCode::corrupt_file, "the vocabulary has " + std::to_string(n_vocab) +
                                                 " tokens but " + std::to_string(data.scores.size()) +
                                                 " scores");
  }
  RETURN_IF_ERROR(read_special(file, "bos_token_id", n_vocab, data.bos));
  RETURN_IF_ERROR(read_special(file, "eos_token_id", n_vocab, data.eos));
  RETURN_IF_ERROR(read_special(file, "eot_token_id", n_vocab, data.eot));
  RETURN_IF_ERROR(read_special(file, "eom_token_id", n_vocab, data.eom));
  RETURN_IF_ERROR(read_special(file, "unknown_token_id", n_vocab, data.unknown));
  RETURN_IF_ERROR(read_special(file, "padding_token_id", n_vocab, data.padding));
  RETURN_IF_ERROR(read_special(file, "cls_token_id", n_vocab, data.cls));
  // The first key is how llama.cpp spelled it for years.
  RETURN_IF_ERROR(read_special(file, "seperator_token_id", n_vocab, data.separator));
  if (data.separator < 0) RETURN_IF_ERROR(read_special(file, "separator_token_id", n_vocab, data.separator));
  ASSIGN_OR_RETURN(data.lowercase, file.get_bool("tokenizer.ggml.normalizer.lowercase", true));
  ASSIGN_OR_RETURN(data.add_eos, file.get_bool("tokenizer.ggml.add_eos_token", false));
  ASSIGN_OR_RETURN(data.add_bos, file.get_bool("tokenizer.ggml.add_bos_token", data.model == "llama"));
  ASSIGN_OR_RETURN(data.add_space_prefix, file.get_bool("tokenizer.ggml.add_space_prefix", true));
  if (data.bos < 0) data.add_bos = false;
  return data;
}

}  // namespace nutshell
