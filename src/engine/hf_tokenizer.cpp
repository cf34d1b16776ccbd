#include "engine/hf_tokenizer.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>

#include "text/pretokenize.h"
#include "text/sentencepiece.h"
#include "text/wordpiece.h"

namespace nutshell {
namespace {

using nlohmann::json;

constexpr int64_t kMaxVocabulary = 1 << 22;
constexpr std::string_view kWordStart = "\xe2\x96\x81";  // U+2581
constexpr float kNoScore = -1000.0f;

Status unsupported(const std::string& what) {
  return {ErrorCode::unsupported_tokenizer, what +
                                                " is not supported; supported in tokenizer.json: byte-level "
                                                "BPE, BPE with byte fallback, WordPiece"};
}
Status corrupt(const std::string& what) { return {ErrorCode::corrupt_file, "tokenizer.json: " + what}; }

std::string text_of(const json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}
bool flag_of(const json& object, const char* key, bool fallback) {
  if (!object.is_object()) return fallback;
  const auto it = object.find(key);
  return it != object.end() && it->is_boolean() ? it->get<bool>() : fallback;
}

// A part of a pipeline, or the parts of a "Sequence".
std::vector<const json*> steps_of(const json* step, const char* list) {
  std::vector<const json*> out;
  if (step == nullptr || !step->is_object()) return out;
  const auto parts = step->find(list);
  if (text_of(*step, "type") != "Sequence") {
    out.push_back(step);
  } else if (parts != step->end() && parts->is_array()) {
    for (const json& part : *parts) out.push_back(&part);
  }
  return out;
}

// Added tokens that are control tokens whatever `special` says, as GGUF's converter has it.
bool looks_special(std::string_view text) {
  return text == "<pad>" || text == "<mask>" || (text.starts_with("<|") && text.ends_with("|>")) ||
         (text.starts_with("<\xef\xbd\x9c") && text.ends_with("\xef\xbd\x9c>")) ||
         (text.starts_with("<unused") && text.ends_with(">"));
}

struct Words {
  std::vector<std::string> tokens;
  std::vector<int64_t> types;
  std::vector<std::string> merges;
  std::vector<float> scores;
  std::unordered_map<std::string, int64_t> ids;
  int64_t limit = 1 << 16;  // of ids, so that one large number does not take memory

  Status set(int64_t id, const std::string& text, TokenType type) {
    if (id < 0 || id >= limit)
      return {ErrorCode::limit_exceeded, "tokenizer.json: the token id " + std::to_string(id)};
    const auto i = static_cast<size_t>(id);
    if (i >= tokens.size()) {
      tokens.resize(i + 1);
      types.resize(i + 1, 0);
    }
    if (types[i] != 0 && tokens[i] != text) return corrupt("two tokens have the id " + std::to_string(id));
    tokens[i] = text;
    types[i] = static_cast<int64_t>(type);
    ids[text] = id;
    return {};
  }
};

Status read_vocabulary(const json& vocabulary, Words& out) {
  if (!vocabulary.is_object()) return corrupt("the vocabulary is not an object");
  out.limit = std::min<int64_t>(kMaxVocabulary, out.limit + 2 * static_cast<int64_t>(vocabulary.size()));
  for (const auto& [text, id] : vocabulary.items()) {
    if (!id.is_number_integer()) return corrupt("a token has no id");
    RETURN_IF_ERROR(out.set(id.get<int64_t>(), text, TokenType::normal));
  }
  return {};
}

Status read_added(const HfConfig& tokenizer, Words& out) {
  const json* added = tokenizer.find("added_tokens");
  if (added == nullptr) return {};
  if (!added->is_array()) return corrupt("added_tokens is not a list");
  for (const json& token : *added) {
    const std::string text = text_of(token, "content");
    const auto id = token.is_object() ? token.find("id") : token.end();
    if (text.empty() || id == token.end() || !id->is_number_integer())
      return corrupt("an added token has no id");
    const bool control = flag_of(token, "special", false) || looks_special(text);
    RETURN_IF_ERROR(
        out.set(id->get<int64_t>(), text, control ? TokenType::control : TokenType::user_defined));
  }
  return {};
}

Status read_merges(const HfConfig& tokenizer, Words& out) {
  const json* merges = tokenizer.find("model.merges");
  if (merges == nullptr) return {};
  if (!merges->is_array()) return corrupt("merges is not a list");
  out.merges.reserve(merges->size());
  for (const json& merge : *merges) {
    if (merge.is_string()) {
      out.merges.push_back(merge.get<std::string>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      out.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    } else {
      return corrupt("a merge is not two tokens");
    }
  }
  return {};
}

// Adds the cutting rules of one pre-tokenizer.
Status add_rules(const json& step, std::vector<std::string>& rules, bool& byte_level) {
  const std::string type = text_of(step, "type");
  if (type == "ByteLevel") {
    byte_level = true;
    if (flag_of(step, "add_prefix_space", true)) return unsupported("ByteLevel with add_prefix_space");
    if (flag_of(step, "use_regex", true)) rules.push_back(PreTokenizer::gpt2_pattern());
    return {};
  }
  if (type == "Digits") {
    rules.emplace_back(flag_of(step, "individual_digits", false) ? "\\p{N}" : "\\p{N}+");
    return {};
  }
  if (type == "Split") {
    const auto pattern = step.find("pattern");
    const std::string regex = pattern == step.end() ? std::string() : text_of(*pattern, "Regex");
    const std::string behavior = text_of(step, "behavior");
    const bool invert = flag_of(step, "invert", false);
    if (regex.empty() || !((behavior == "Isolated" && !invert) || (behavior == "Removed" && invert)))
      return unsupported("the pre-tokenizer Split with the behaviour '" + behavior.substr(0, 40) + "'");
    rules.push_back(regex);
    return {};
  }
  return unsupported("the pre-tokenizer '" + type.substr(0, 64) + "'");
}

Status add_byte_level(const HfConfig& t, MetadataBuilder& out) {
  bool nfc = false, byte_level = false;
  for (const json* step : steps_of(t.find("normalizer"), "normalizers")) {
    const std::string type = text_of(*step, "type");
    if (type != "NFC") return unsupported("the normalizer '" + type.substr(0, 64) + "'");
    nfc = true;
  }
  std::vector<std::string> rules;
  for (const json* step : steps_of(t.find("pre_tokenizer"), "pretokenizers"))
    RETURN_IF_ERROR(add_rules(*step, rules, byte_level));
  if (!byte_level) return unsupported("BPE that is neither byte-level nor with byte fallback");
  ASSIGN_OR_RETURN(const bool whole, t.boolean("model.ignore_merges", false));
  ASSIGN_OR_RETURN(const std::string pre, PreTokenizer::find(rules, nfc, whole));
  out.add("tokenizer.ggml.model", "gpt2");
  out.add("tokenizer.ggml.pre", pre);
  return {};
}

// SentencePiece's BPE written as merges: a piece's score is the rank of the first merge that makes it, which
// gives the same order of merging.
Status add_byte_fallback(const HfConfig& t, Words& words, MetadataBuilder& out) {
  bool prefix = false;
  for (const json* step : steps_of(t.find("normalizer"), "normalizers")) {
    const std::string type = text_of(*step, "type");
    if (type == "Prepend" && text_of(*step, "prepend") == kWordStart) {
      prefix = true;
    } else if (type != "Replace") {
      return unsupported("the normalizer '" + type.substr(0, 64) + "'");
    }
  }
  for (const json* step : steps_of(t.find("pre_tokenizer"), "pretokenizers")) {
    const std::string type = text_of(*step, "type"), scheme = text_of(*step, "prepend_scheme");
    if (type == "Metaspace") {
      prefix |= scheme == "always" || scheme == "first";
    } else if (type != "Split") {  // Gemma's cuts at spaces that no piece crosses
      return unsupported("the pre-tokenizer '" + type.substr(0, 64) + "'");
    }
  }
  words.scores.assign(words.tokens.size(), kNoScore * 1000);
  for (size_t rank = 0; rank < words.merges.size(); ++rank) {
    std::string merged = words.merges[rank];
    if (const size_t space = merged.find(' ', 1); space != std::string::npos) merged.erase(space, 1);
    const auto it = words.ids.find(merged);
    if (it == words.ids.end()) return corrupt("the merge " + std::to_string(rank) + " makes no token");
    float& score = words.scores[static_cast<size_t>(it->second)];
    score = std::max(score, -static_cast<float>(rank));
  }
  words.merges.clear();
  for (size_t i = 0; i < words.tokens.size(); ++i) {
    const std::string& text = words.tokens[i];
    if (words.types[i] == static_cast<int64_t>(TokenType::normal) && text.size() == 6 &&
        text.starts_with("<0x") && text.ends_with(">"))
      words.types[i] = static_cast<int64_t>(TokenType::byte);
  }
  out.add("tokenizer.ggml.model", "llama");
  out.add("tokenizer.ggml.add_space_prefix", prefix);
  return {};
}

void turn_word_pieces(Words& words) {
  for (size_t i = 0; i < words.tokens.size(); ++i)
    if (words.types[i] != static_cast<int64_t>(TokenType::control))
      words.tokens[i] = gguf_word_piece(words.tokens[i]);
}

// Capitals and accents go together or stay together.
Status set_lowercase(bool lower, bool strip_accents, MetadataBuilder& out) {
  if (lower != strip_accents) return unsupported("WordPiece that keeps either capitals or accents");
  if (!lower) out.add("tokenizer.ggml.normalizer.lowercase", false);
  return {};
}

Status add_word_piece(const HfConfig& t, Words& words, MetadataBuilder& out) {
  ASSIGN_OR_RETURN(const std::string mark, t.text("model.continuing_subword_prefix", "##"));
  if (mark != "##") return unsupported("WordPiece with the mark '" + mark.substr(0, 16) + "'");
  const json* normalizer = t.find("normalizer");
  if (normalizer == nullptr || text_of(*normalizer, "type") != "BertNormalizer" ||
      !flag_of(*normalizer, "clean_text", true) || !flag_of(*normalizer, "handle_chinese_chars", true))
    return unsupported("WordPiece with another normalizer than BERT's");
  const bool lower = flag_of(*normalizer, "lowercase", true);
  RETURN_IF_ERROR(set_lowercase(lower, flag_of(*normalizer, "strip_accents", lower), out));
  turn_word_pieces(words);
  out.add("tokenizer.ggml.model", "bert");
  return {};
}

Status read_vocab_txt(const std::string& text, const HfConfig& settings, Words& words, MetadataBuilder& out) {
  ASSIGN_OR_RETURN(const bool lower, settings.boolean("do_lower_case", true));
  ASSIGN_OR_RETURN(const bool strip, settings.boolean("strip_accents", lower));
  RETURN_IF_ERROR(set_lowercase(lower, strip, out));
  words.limit = kMaxVocabulary;
  int64_t id = 0;
  for (size_t at = 0; at < text.size(); ++id) {
    size_t end = text.find('\n', at);
    if (end == std::string::npos) end = text.size();
    std::string word = text.substr(at, end - at);
    if (!word.empty() && word.back() == '\r') word.pop_back();
    RETURN_IF_ERROR(words.set(id, word, is_bert_control(word) ? TokenType::control : TokenType::normal));
    at = end + 1;
  }
  turn_word_pieces(words);
  out.add("tokenizer.ggml.model", "bert");
  return {};
}

// What a tokenizer says of its special tokens by itself, where the settings say nothing.
struct OwnTokens {
  int64_t bos = -1, eos = -1, unknown = -1, padding = -1;
  bool add_bos = false, add_eos = false;
};

// A SentencePiece model, and the tokens that tokenizer_config.json adds behind its own.
Status add_sentencepiece(const std::string& model, const HfConfig& settings, Words& words, OwnTokens& special,
                         MetadataBuilder& out) {
  ASSIGN_OR_RETURN(const TokenizerData data, sentencepiece_data(model));
  words.limit = kMaxVocabulary;
  for (size_t i = 0; i < data.tokens.size(); ++i)
    RETURN_IF_ERROR(
        words.set(static_cast<int64_t>(i), data.tokens[i], static_cast<TokenType>(data.types[i])));
  words.scores = data.scores;
  if (const json* added = settings.find("added_tokens_decoder"); added != nullptr && added->is_object()) {
    const auto first = static_cast<int64_t>(data.tokens.size());
    words.limit = first + (1 << 16);
    for (const auto& [key, token] : added->items()) {
      const json id = json::parse(key, nullptr, false);
      if (!id.is_number_integer()) return corrupt("an added token has the id '" + key.substr(0, 20) + "'");
      const std::string text = text_of(token, "content");
      const bool control = flag_of(token, "special", false) || looks_special(text);
      if (id.get<int64_t>() >= first)
        RETURN_IF_ERROR(
            words.set(id.get<int64_t>(), text, control ? TokenType::control : TokenType::user_defined));
    }
  }
  special = {data.bos, data.eos, data.unknown, data.padding, data.add_bos, data.add_eos};
  out.add("tokenizer.ggml.model", "llama");
  out.add("tokenizer.ggml.add_space_prefix", data.add_space_prefix);
  return {};
}

// The id of a special token: its text in tokenizer_config.json, else a number in config.json.
int64_t special_id(const HfTokenizerFiles& files, const HfConfig& config, const Words& words,
                   const std::string& name) {
  if (const json* token = files.settings.find(name + "_token")) {
    const std::string text = token->is_string() ? token->get<std::string>() : text_of(*token, "content");
    if (const auto it = words.ids.find(text); it != words.ids.end()) return it->second;
  }
  const json* id = config.find(name + "_token_id");
  if (id != nullptr && id->is_array() && !id->empty()) id = &(*id)[0];
  if (id == nullptr || !id->is_number_integer()) return -1;
  const auto value = id->get<int64_t>();
  return value >= 0 && value < static_cast<int64_t>(words.tokens.size()) ? value : -1;
}

int64_t id_of(const Words& words, const char* text) {
  const auto it = words.ids.find(text);
  return it == words.ids.end() ? -1 : it->second;
}

// Whether the post-processor puts a token first and last: {bos, eos}.
std::pair<bool, bool> template_ends(const HfConfig& tokenizer) {
  for (const json* step : steps_of(tokenizer.find("post_processor"), "processors")) {
    const std::string type = text_of(*step, "type");
    if (type == "BertProcessing" || type == "RobertaProcessing") return {true, true};
    const auto single = step->find("single");
    if (type != "TemplateProcessing" || single == step->end() || !single->is_array() || single->empty())
      continue;
    const json &first = single->front(), &last = single->back();
    return {first.is_object() && first.contains("SpecialToken"),
            last.is_object() && last.contains("SpecialToken")};
  }
  return {false, false};
}

Status add_special(const HfTokenizerFiles& files, const HfConfig& config, const Words& words,
                   const OwnTokens& own, bool word_piece, MetadataBuilder& out) {
  const auto add = [&](const char* key, int64_t id) {
    if (id >= 0) out.add("tokenizer.ggml." + std::string(key), id);
  };
  const auto find = [&](const char* name, int64_t otherwise) {
    const int64_t id = special_id(files, config, words, name);
    return id >= 0 ? id : otherwise;
  };
  int64_t bos = find("bos", own.bos), eos = find("eos", own.eos);
  if (word_piece) {
    add("cls_token_id", bos = id_of(words, "[CLS]"));
    add("seperator_token_id", eos = id_of(words, "[SEP]"));  // the key's own spelling
    add("mask_token_id", id_of(words, "[MASK]"));
    add("unknown_token_id", id_of(words, "[UNK]"));
    add("padding_token_id", id_of(words, "[PAD]"));
  } else {
    add("unknown_token_id", find("unk", own.unknown));
    add("padding_token_id", find("pad", own.padding));
  }
  add("bos_token_id", bos);
  add("eos_token_id", eos);
  // Further tokens that end an answer; GGUF has two more places for them.
  if (const json* ends = files.generation.find("eos_token_id"); ends != nullptr && ends->is_array()) {
    const char* places[] = {"eot_token_id", "eom_token_id"};
    size_t used = 0;
    for (const json& end : *ends)
      if (used < 2 && end.is_number_integer() && end.get<int64_t>() != eos &&
          end.get<int64_t>() < static_cast<int64_t>(words.tokens.size()))
        add(places[used++], end.get<int64_t>());
  }
  ASSIGN_OR_RETURN(const bool add_bos, files.settings.boolean("add_bos_token", own.add_bos));
  ASSIGN_OR_RETURN(const bool add_eos, files.settings.boolean("add_eos_token", own.add_eos));
  out.add("tokenizer.ggml.add_bos_token", add_bos && bos >= 0);
  out.add("tokenizer.ggml.add_eos_token", add_eos && eos >= 0);
  return {};
}

// chat_template.jinja, or the text, or the one called "default" in tokenizer_config.json.
void add_chat_template(const HfTokenizerFiles& files, MetadataBuilder& out) {
  if (!files.chat_template.empty()) return out.add("tokenizer.chat_template", files.chat_template);
  const json* given = files.settings.find("chat_template");
  if (given == nullptr) return;
  if (given->is_string()) return out.add("tokenizer.chat_template", given->get<std::string>());
  if (!given->is_array()) return;
  for (const json& each : *given)
    if (text_of(each, "name") == "default")
      return out.add("tokenizer.chat_template", text_of(each, "template"));
}

}  // namespace

Status add_hf_tokenizer(const HfTokenizerFiles& files, const HfConfig& config, MetadataBuilder& out) {
  Words words;
  const HfConfig& t = files.tokenizer;
  const json* vocabulary = t.find("model.vocab");
  bool word_piece = false;
  OwnTokens own;
  std::tie(own.add_bos, own.add_eos) = template_ends(t);
  if (vocabulary != nullptr) {
    RETURN_IF_ERROR(read_vocabulary(*vocabulary, words));
    RETURN_IF_ERROR(read_added(t, words));
    RETURN_IF_ERROR(read_merges(t, words));
    ASSIGN_OR_RETURN(const std::string type, t.text("model.type", vocabulary->is_object() ? "BPE" : ""));
    ASSIGN_OR_RETURN(const bool fallback, t.boolean("model.byte_fallback", false));
    word_piece = type == "WordPiece";
    if (word_piece) {
      RETURN_IF_ERROR(add_word_piece(t, words, out));
    } else if (type != "BPE") {
      return unsupported("the tokenizer model '" + type.substr(0, 64) + "'");
    } else if (fallback) {
      RETURN_IF_ERROR(add_byte_fallback(t, words, out));
    } else {
      RETURN_IF_ERROR(add_byte_level(t, out));
    }
  } else if (!files.vocab_txt.empty()) {
    word_piece = true;
    RETURN_IF_ERROR(read_vocab_txt(files.vocab_txt, files.settings, words, out));
  } else if (!files.sentencepiece.empty()) {
    RETURN_IF_ERROR(add_sentencepiece(files.sentencepiece, files.settings, words, own, out));
  } else {
    return {ErrorCode::missing_part,
            "the folder lacks tokenizer.json (or tokenizer.model, vocab.txt), so text cannot be turned into "
            "tokens"};
  }
  if (word_piece) own.add_bos = own.add_eos = true;
  ASSIGN_OR_RETURN(const int64_t size,
                   config.integer("vocab_size", static_cast<int64_t>(words.tokens.size())));
  if (size < static_cast<int64_t>(words.tokens.size()) || size > kMaxVocabulary)
    return corrupt("the vocabulary has " + std::to_string(words.tokens.size()) +
                   " tokens, config.json says " + std::to_string(size));
  words.tokens.resize(static_cast<size_t>(size));
  words.types.resize(static_cast<size_t>(size), 0);
  for (size_t i = 0; i < words.tokens.size(); ++i)
    if (words.types[i] == 0) {
      words.tokens[i] = "[PAD" + std::to_string(i) + "]";
      words.types[i] = static_cast<int64_t>(TokenType::unused);
    }
  out.add("tokenizer.ggml.tokens", std::span<const std::string>(words.tokens));
  out.add("tokenizer.ggml.token_type", std::span<const int64_t>(words.types));
  if (!words.merges.empty()) out.add("tokenizer.ggml.merges", std::span<const std::string>(words.merges));
  if (!words.scores.empty()) {
    words.scores.resize(words.tokens.size(), kNoScore);
    out.add("tokenizer.ggml.scores", std::span<const float>(words.scores));
  }
  RETURN_IF_ERROR(add_special(files, config, words, own, word_piece, out));
  add_chat_template(files, out);
  return {};
}

}  // namespace nutshell
