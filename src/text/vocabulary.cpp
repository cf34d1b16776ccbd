// See vocabulary.h.
#include "text/vocabulary.h"

#include <algorithm>
#include <array>

#include "text/literal_trie.h"
#include "text/utf8.h"

namespace nutshell {
namespace {

// Far above any real vocabulary (Gemma 3: 262,144 tokens; Llama 3: 280,147 merges).
constexpr size_t kMaxTokens = size_t{1} << 22, kMaxMerges = size_t{1} << 23;

// Names of control tokens that end a turn or a text in known chat formats.
constexpr std::string_view kEndNames[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "</s>",
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
    "<|eot|>",
    "<|eom|>",
    "<|END_OF_TURN_TOKEN|>",
    "<end_of_utterance>",
};

std::array<int16_t, 0x144> make_byte_of_character() {
  std::array<int16_t, 0x144> table;
  table.fill(-1);
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    table[static_cast<size_t>(itself ? byte : next++)] = static_cast<int16_t>(byte);
  }
  return table;
}

bool is_literal(TokenType type) { return type == TokenType::control || type == TokenType::user_defined; }

Status check_counts(const TokenizerData& data) {
  const size_t n = data.tokens.size();
  if (n == 0) return {ErrorCode::corrupt_file, "the vocabulary has no tokens"};
  if (n > kMaxTokens || data.merges.size() > kMaxMerges) {
    return {ErrorCode::limit_exceeded, "the vocabulary has " + std::to_string(n) + " tokens and " +
                                           std::to_string(data.merges.size()) + " merges, allowed are " +
                                           std::to_string(kMaxTokens) + " and " + std::to_string(kMaxMerges)};
  }
  if (!data.types.empty() && data.types.size() != n) {
    return {ErrorCode::corrupt_file, "the vocabulary has " + std::to_string(n) + " tokens but " +
                                         std::to_string(data.types.size()) + " token types"};
  }
  if (!data.scores.empty() && data.scores.size() != n) {
    return {ErrorCode::corrupt_file, "the vocabulary has " + std::to_string(n) + " tokens but " +
                                         std::to_string(data.scores.size()) + " scores"};
  }
  const std::pair<const char*, int32_t> ids[] = {
      {"bos", data.bos},         {"eos", data.eos},         {"eot", data.eot}, {"eom", data.eom},
      {"unknown", data.unknown}, {"padding", data.padding}, {"cls", data.cls}, {"separator", data.separator}};
  for (const auto& [name, id] : ids) {
    if (id < -1 || (id >= 0 && static_cast<size_t>(id) >= n)) {
      return {ErrorCode::corrupt_file, std::string("the ") + name + " token is " + std::to_string(id) +
                                           ", the vocabulary has " + std::to_string(n) + " tokens"};
    }
  }
  return {};
}

}  // namespace

std::string token_text(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, 40)) out += c >= ' ' && c <= '~' ? c : '?';
  return out + (text.size() > 40 ? "...'" : "'");
}

void append_byte_level(std::string_view text, std::string& out) {
  static const std::array<int16_t, 0x144> table = make_byte_of_character();
  for (size_t i = 0; i < text.size();) {
    size_t end = i;  // most characters stand for themselves
    while (end < text.size() && text[end] >= 0x21 && text[end] <= 0x7E) ++end;
    if (end > i) {
      out.append(text, i, end - i);
      i = end;
      continue;
    }
    const Utf8Char c = read_utf8(text, i);
    if (c.kind == Utf8Char::Kind::valid && c.code_point < table.size() && table[c.code_point] >= 0) {
      out += static_cast<char>(table[c.code_point]);
    } else {
      out.append(text, i, c.length);
    }
    i += c.length;
  }
}

Result<Vocabulary> Vocabulary::build(const TokenizerData& data, AppendBytes append_bytes) {
  RETURN_IF_ERROR(check_counts(data));
  const size_t n = data.tokens.size();
  Vocabulary result;
  result.starts_.reserve(n + 1);
  result.types_.reserve(n);
  for (size_t id = 0; id < n; ++id) {
    const std::string& text = data.tokens[id];
    const int32_t type = data.types.empty() ? static_cast<int32_t>(TokenType::normal) : data.types[id];
    if (type < 1 || type > 6) {
      return Status(ErrorCode::corrupt_file, "token " + std::to_string(id) + " has type " +
                                                 std::to_string(type) + ", allowed is 1 to 6");
    }
    const TokenType kind = static_cast<TokenType>(type);
    if (is_literal(kind) && text.size() > kMaxLiteralBytes) {
      return Status(ErrorCode::limit_exceeded, "special token " + std::to_string(id) + " has " +
                                                   std::to_string(text.size()) + " bytes, allowed are " +
                                                   std::to_string(kMaxLiteralBytes));
    }
    result.starts_.push_back(result.bytes_.size());
    const bool mapped = kind == TokenType::normal || kind == TokenType::byte || kind == TokenType::unused;
    if (mapped) {
      append_bytes(text, kind, result.bytes_);
    } else {
      result.bytes_ += text;
    }
    result.types_.push_back(kind);
  }
  result.starts_.push_back(result.bytes_.size());
  result.find_ends(data);
  const int32_t first = data.cls >= 0 ? data.cls : data.add_bos ? data.bos : -1;
  const int32_t last = data.separator >= 0 ? data.separator : data.add_eos ? data.eos : -1;
  if (first >= 0) result.prefix_.push_back(first);
  if (last >= 0) result.suffix_.push_back(last);
  return result;
}

std::string Vocabulary::token_bytes(int32_t id, bool render_special) const {
  if (!contains(id)) return {};
  const TokenType kind = type(id);
  const bool plain = kind == TokenType::normal || kind == TokenType::user_defined || kind == TokenType::byte;
  return plain || render_special ? std::string(bytes(id)) : std::string();
}

void Vocabulary::find_ends(const TokenizerData& data) {
  for (const int32_t id : {data.eos, data.eot, data.eom}) {
    if (id >= 0) ends_.push_back(id);
  }
  // In OpenAI's harmony format <|end|> ends a channel, <|return|> the turn.
  bool harmony = false;
  for (int32_t id = 0; id < size() && !harmony; ++id) {
    harmony = type(id) == TokenType::control && bytes(id) == "<|return|>";
  }
  if (harmony) std::erase_if(ends_, [&](int32_t id) { return bytes(id) == "<|end|>"; });
  for (int32_t id = 0; id < size(); ++id) {
    if (type(id) == TokenType::control && !(harmony && bytes(id) == "<|end|>") &&
        std::find(std::begin(kEndNames), std::end(kEndNames), bytes(id)) != std::end(kEndNames)) {
      ends_.push_back(id);
    }
  }
}

bool Vocabulary::is_end(int32_t id) const { return std::find(ends_.begin(), ends_.end(), id) != ends_.end(); }

}  // namespace nutshell
