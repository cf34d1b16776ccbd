// The table of pre-tokenizers and the cutting. The patterns are the ones published in the models'
// tokenizer.json (llama.cpp's llama-vocab.cpp, version of llama-cpp-python 0.3.36, quotes them and gives the
// names); which names share a row is llama.cpp's knowledge too. NFC is set where Hugging Face's tokenizer has
// that normaliser.
//
// Patterns of a row are applied in turn, each inside the pieces the one before has left; what a pattern
// matches is a piece and what lies between two matches is one (Hugging Face: behaviour "isolated").
#include "text/pretokenize.h"

namespace nutshell {
namespace {

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

constexpr const char kGpt2[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char kLlama3[] =
    CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char kQwen2[] =
    CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char kQwen35[] = CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char kO200k[] =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)" CONTRACTIONS
    R"(?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)" CONTRACTIONS
    R"(?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char kTekken[] =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char kSeedCoder[] =
    CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char kBailing[] =
    CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
// \x{..} where NFC, as an editor may apply it, would turn the character into another.
constexpr const char kDeepseekLatin[] =
    R"(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ)"
    R"(-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌῐ-\x{1FD3}ῖ-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ)"
    R"(\x{2126}ℨ\x{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀)"
    R"(-𐳲𑢠-𑣟𞤀-𞥃]+)";
constexpr const char kDeepseekV3[] =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Kind {
  const char* names;     // separated by spaces
  const char* flags;     // "nfc", "whole" (ignore_merges), both or neither
  const char* rules[6];  // ends at the first null
};

constexpr Kind kKinds[] = {
    {"gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe gigachat a.x-4.0 "
     "mellum "
     "jais trillion granite-docling exaone4",
     "",
     {kGpt2}},
    {"mpt olmo modern-bert", "nfc", {kGpt2}},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", "", {R"(\p{N})", kGpt2}},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano glm4 glm5",
     "whole",
     {kLlama3}},
    {"dbrx smaug-bpe chatglm-bpe", "", {kLlama3}},
    {"qwen2 deepseek-r1-qwen megrez kormo f2llmv2", "nfc", {kQwen2}},
    {"stablelm2 hunyuan solar-open grok-2", "", {kQwen2}},
    {"qwen35", "nfc", {kQwen35}},
    {"gpt-4o o200k llama4 kanana2 talkie minimax-m2", "", {kO200k}},
    {"tekken", "whole", {kTekken}},
    {"seed-coder", "", {kSeedCoder}},
    {"bailingmoe bailingmoe2 llada-moe", "", {kBailing}},
    {"deepseek-llm",
     "",
     {R"([\r\n])", kDeepseekLatin, R"(\s?[!-/:-~！-／：-～‘-‟　-。]+)", R"(\s+$)",
      R"([一-龥ࠀ-一가-퟿]+)", R"(\p{N})"}},
    {"deepseek-coder",
     "",
     {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", R"([一-龥ࠀ-一가-퟿]+)", R"(\p{N})"}},
    {"deepseek-v3 hunyuan-dense joyai-llm",
     "",
     {R"(\p{N}{1,3})", R"([一-龥぀-ゟ゠-ヿ]+)", kDeepseekV3}},
    {"falcon", "", {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, R"([0-9][0-9][0-9])"}},
    // What llama.cpp does for files that name no pre-tokenizer.
    {"default", "", {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", R"([0-9][0-9][0-9])"}},
};

// True when word is one of the space-separated words of list.
bool has_word(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const size_t space = list.find(' ');
    if (list.substr(0, space) == word) return true;
    list = space == std::string_view::npos ? std::string_view() : list.substr(space + 1);
  }
  return false;
}

}  // namespace

std::string PreTokenizer::known_names() {
  std::string all;
  for (const Kind& kind : kKinds) {
    for (const char c : std::string_view(kind.names)) all += c == ' ' ? std::string(", ") : std::string(1, c);
    all += ", ";
  }
  all.resize(all.size() - 2);
  return all;
}

Result<PreTokenizer> PreTokenizer::make(std::string_view name) {
  if (name.empty()) name = "default";
  for (const Kind& kind : kKinds) {
    if (!has_word(kind.names, name)) continue;
    PreTokenizer result;
    result.nfc_ = has_word(kind.flags, "nfc");
    result.ignore_merges_ = has_word(kind.flags, "whole");
    for (const char* rule : kind.rules) {
      if (!rule) break;
      ASSIGN_OR_RETURN(SplitPattern pattern, SplitPattern::compile(rule));
      result.patterns_.push_back(std::move(pattern));
    }
    return result;
  }
  return Status(ErrorCode::unsupported_tokenizer, "pre-tokenizer '" + std::string(name.substr(0, 64)) +
                                                      "' is not supported; known are " + known_names());
}

std::string PreTokenizer::gpt2_pattern() { return kGpt2; }

Result<std::string> PreTokenizer::find(const std::vector<std::string>& rules, bool nfc, bool ignore_merges) {
  for (const Kind& kind : kKinds) {
    if (has_word(kind.flags, "nfc") != nfc || has_word(kind.flags, "whole") != ignore_merges) continue;
    size_t i = 0;
    while (kind.rules[i] && i < rules.size() && rules[i] == kind.rules[i]) ++i;
    if (i == rules.size() && !kind.rules[i]) {
      const std::string_view names = kind.names;
      return std::string(names.substr(0, names.find(' ')));
    }
  }
  return Status(ErrorCode::unsupported_tokenizer,
                "the pre-tokenizer with the pattern '" + (rules.empty() ? "" : rules[0].substr(0, 200)) +
                    "'" + (nfc ? " after NFC" : "") + (ignore_merges ? ", whole words first," : "") +
                    " is not supported; known are " + known_names());
}

std::vector<size_t> PreTokenizer::split(std::string_view text) const {
  std::vector<uint32_t> characters;
  append_characters(text, characters);
  std::vector<size_t> ends, next;  // ends of pieces, in characters
  if (!characters.empty()) ends.push_back(characters.size());
  for (const SplitPattern& pattern : patterns_) {
    next.clear();
    size_t begin = 0;
    for (const size_t end : ends) {
      const std::span<const uint32_t> piece(characters.data() + begin, end - begin);
      for (size_t done = 0; done < piece.size();) {
        const auto [first, last] = pattern.find(piece, done);
        if (first > done) next.push_back(begin + first);
        if (last > first) next.push_back(begin + last);
        done = last;
      }
      begin = end;
    }
    ends.swap(next);
  }
  size_t bytes = 0, position = 0;
  for (size_t& end : ends) {
    for (; position < end; ++position) bytes += character_bytes(characters[position]);
    end = bytes;
  }
  return ends;
}

}  // namespace nutshell
