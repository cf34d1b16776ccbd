// The tokenizers against Hugging Face's: ids of some 3,400 strings with SmolLM2's and Qwen2's vocabulary and
// a third of them with three more, the way back to text, and the pieces of the pre-tokenizers no vocabulary
// is at hand for. Data and how they were made: tests/golden/text, scripts/golden/make_tokenizer.py.
#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "support/golden.h"
#include "support/vocabulary_file.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

using namespace nutshell;
using nlohmann::json;

namespace {

const std::vector<std::string>& strings() {
  static const std::vector<std::string> all =
      test::read_golden("text/strings.json")["strings"].get<std::vector<std::string>>();
  REQUIRE(all.size() >= 2000);
  return all;
}

void check_vocabulary(const char* name, const char* variable) {
  TokenizerData data = testing::read_tokenizer(testing::required_path(variable));
  const json golden = test::read_golden(std::string("text/ids_") + name + ".json");
  CHECK(data.pre == golden["pre"].get<std::string>());
  auto made = make_tokenizer(std::move(data));
  REQUIRE_MESSAGE(made.ok(), made.status().message());
  const Tokenizer& tokenizer = **made;
  const auto pre = PreTokenizer::make(golden["pre"].get<std::string>());
  REQUIRE(pre.ok());

  const size_t every = golden["every"].get<size_t>();
  const std::set<size_t> lossy = golden["loses_bytes"].get<std::set<size_t>>();
  size_t n = 0;
  for (const json& expected : golden["special"]) {
    const size_t index = n++ * every;
    CAPTURE(index);
    const std::string& text = strings()[index];
    const std::vector<int32_t> ids = tokenizer.encode(text, true);
    CHECK(ids == expected.get<std::vector<int32_t>>());
    const std::string normal = pre->nfc() ? normalize_nfc(text) : text;
    CHECK((tokenizer.decode(ids, true) == normal) == !lossy.contains(index));

    const std::vector<int32_t> plain = tokenizer.encode(text, false);
    const auto differs = golden["plain"].find(std::to_string(index));
    CHECK(plain == (differs == golden["plain"].end() ? ids : differs->get<std::vector<int32_t>>()));
    CHECK((tokenizer.decode(plain, false) == normal) == !lossy.contains(index));
  }
  CHECK(n == (strings().size() + every - 1) / every);
}

// The notation of splits.json: lengths in characters.
std::string lengths(std::string_view text, const std::vector<size_t>& ends) {
  std::string out;
  size_t begin = 0;
  for (const size_t end : ends) {
    std::vector<uint32_t> characters;
    append_characters(text.substr(begin, end - begin), characters);
    const size_t n = characters.size();
    if (n < 36) {
      out += "0123456789abcdefghijklmnopqrstuvwxyz"[n];
    } else {
      out.append("[").append(std::to_string(n)).append("]");
    }
    begin = end;
  }
  return out;
}

}  // namespace

TEST_CASE("tokenizer golden: SmolLM2") { check_vocabulary("smollm2", "NUTSHELL_MODEL_SMOLLM2"); }
TEST_CASE("tokenizer golden: Qwen2") { check_vocabulary("qwen2", "NUTSHELL_VOCAB_QWEN2"); }
TEST_CASE("tokenizer golden: GPT-2") { check_vocabulary("gpt-2", "NUTSHELL_VOCAB_GPT_2"); }
TEST_CASE("tokenizer golden: Llama 3") { check_vocabulary("llama-bpe", "NUTSHELL_VOCAB_LLAMA_BPE"); }
TEST_CASE("tokenizer golden: DeepSeek LLM") {
  check_vocabulary("deepseek-llm", "NUTSHELL_VOCAB_DEEPSEEK_LLM");
}
TEST_CASE("tokenizer golden: DeepSeek Coder") {
  check_vocabulary("deepseek-coder", "NUTSHELL_VOCAB_DEEPSEEK_CODER");
}
TEST_CASE("tokenizer golden: Qwen 3.5") { check_vocabulary("qwen35", "NUTSHELL_VOCAB_QWEN35"); }

TEST_CASE("pre-tokenizer golden: pieces equal Hugging Face's") {
  const json golden = test::read_golden("text/splits.json");
  for (const auto& entry : golden.items()) {
    if (entry.key() == "head") continue;
    const std::string& kind = entry.key();
    const json& rows = entry.value();
    CAPTURE(kind);
    const auto pre = PreTokenizer::make(kind);
    REQUIRE(pre.ok());
    REQUIRE(rows.size() == strings().size());
    for (size_t i = 0; i < rows.size(); ++i) {
      CAPTURE(i);
      CHECK(lengths(strings()[i], pre->split(strings()[i])) == rows[i].get<std::string>());
    }
  }
  CHECK(golden.size() >= 6);
}
