#include "compress/texts.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/hf/json.h"

namespace nutshell::compress {
namespace {

// How a family marks a turn: `before` role `after` text `end`. The roles as it calls them. Sources: the chat
// templates of Qwen2.5 and SmolLM2, Gemma 2 and 3, Llama 3.1, Phi 3.
struct Turns {
  const char* mark;  // a token only its vocabulary has
  const char *before, *after, *end;
  const char *user, *assistant, *system;
};
constexpr Turns kTurns[] = {
    {"<|im_start|>", "<|im_start|>", "\n", "<|im_end|>\n", "user", "assistant", "system"},
    {"<start_of_turn>", "<start_of_turn>", "\n", "<end_of_turn>\n", "user", "model", "user"},
    {"<|start_header_id|>", "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", "user", "assistant",
     "system"},
    {"<|assistant|>", "<|", "|>\n", "<|end|>\n", "user", "assistant", "system"},
};
constexpr Turns kPlain = {"", "", ": ", "\n\n", "User", "Assistant", "System"};

const Turns& turns_of(const Tokenizer& tokenizer) {
  for (const Turns& turns : kTurns) {
    const std::vector<int32_t> ids = tokenizer.encode(turns.mark, true);
    if (ids.size() == 1) return turns;
  }
  return kPlain;
}

Status add_conversation(const Turns& turns, const std::string& line, const std::string& where,
                        std::string& text) {
  ASSIGN_OR_RETURN(const nlohmann::json root, parse_json_object(line, where));
  const auto messages = root.find("messages");
  if (messages == root.end() || !messages->is_array())
    return {ErrorCode::corrupt_file, where + " has no messages"};
  for (const nlohmann::json& message : *messages) {
    const auto part = [&](const char* key) {
      const auto it = message.is_object() ? message.find(key) : message.end();
      return it != message.end() && it->is_string() ? it->get<std::string>() : std::string();
    };
    const std::string role = part("role");
    if (role != "user" && role != "assistant" && role != "system")
      return {ErrorCode::corrupt_file,
              where + " has a message whose role is neither user, assistant nor system"};
    text += turns.before;
    text += role == "user" ? turns.user : role == "assistant" ? turns.assistant : turns.system;
    text += turns.after + part("content") + turns.end;
  }
  return {};
}

}  // namespace

std::vector<int32_t> frame_windows(std::span<const int32_t> tokens, int64_t length,
                                   std::span<const int32_t> prefix, std::span<const int32_t> suffix) {
  const size_t frame = prefix.size() + suffix.size(),
               each = std::max(static_cast<size_t>(length), frame + 1) - frame;
  std::vector<int32_t> out;
  for (size_t i = 0; i < tokens.size(); i += each) {
    const std::span<const int32_t> part = tokens.subspan(i, std::min(each, tokens.size() - i));
    out.insert(out.end(), prefix.begin(), prefix.end());
    out.insert(out.end(), part.begin(), part.end());
    if (part.size() == each) out.insert(out.end(), suffix.begin(), suffix.end());
  }
  return out;
}

std::vector<std::span<const int32_t>> spread_windows(std::span<const int32_t> tokens, int64_t length,
                                                     int64_t n) {
  const auto each = static_cast<size_t>(length);
  const size_t have = tokens.size() / each, want = std::min(have, static_cast<size_t>(n));
  std::vector<std::span<const int32_t>> windows;
  for (size_t i = 0; i < want; ++i) windows.push_back(tokens.subspan(i * have / want * each, each));
  return windows;
}

Result<std::vector<int32_t>> encode_calibration(const Tokenizer& tokenizer, std::string_view name,
                                                std::string_view content) {
  if (!name.ends_with(".jsonl")) return tokenizer.encode(content, true);
  const Turns& turns = turns_of(tokenizer);
  std::string text;
  size_t number = 0;
  while (!content.empty()) {
    const size_t end = std::min(content.find('\n'), content.size());
    const std::string line(content.substr(0, end));
    content.remove_prefix(std::min(end + 1, content.size()));
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    RETURN_IF_ERROR(
        add_conversation(turns, line, std::string(name) + ", line " + std::to_string(number), text));
  }
  return tokenizer.encode(text, true);
}

}  // namespace nutshell::compress
