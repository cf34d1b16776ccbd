// nutshell embed: the vectors of one text, or of every line of a file.
#include "engine/embed.h"

#include <algorithm>
#include <chrono>

#include "tools/commands.h"

namespace nutshell {
namespace {

// The lines of a text without their ends; a last line that nothing ends counts, an empty rest does not.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    if (!lines.back().empty() && lines.back().back() == '\r') lines.back().pop_back();
    at = end + 1;
  }
  return lines;
}

}  // namespace

Answer run_embed(const EmbedCommand& command) {
  std::vector<std::string> texts = {command.text};
  if (!command.file.empty()) {
    ASSIGN_OR_RETURN(const std::string file, read_text_file(command.file));
    texts = lines_of(file);
  }
  ThreadPool pool(command.threads > 0 ? command.threads : default_threads());
  LoadOptions load;
  load.context_size = command.context;
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, load_model_file(command.model, pool, load));
  if (!model->embeds()) return Status(ErrorCode::no_embeddings, {});
  const auto start = std::chrono::steady_clock::now();
  nlohmann::json embeddings = nlohmann::json::array(), tokens = nlohmann::json::array(),
                 truncated = nlohmann::json::array();
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(const TextEmbedding e, embed_text(*model, text));
    embeddings.push_back(e.values);
    tokens.push_back(e.n_tokens);
    truncated.push_back(e.truncated);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return nlohmann::json{{"embeddings", std::move(embeddings)},
                        {"tokens", std::move(tokens)},
                        {"truncated", std::move(truncated)},
                        {"seconds", seconds.count()}};
}

}  // namespace nutshell
