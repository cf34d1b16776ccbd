// Pruned vocabularies keep the tokens of the texts they were made for, and still write every other text;
// conversations get the turn markers of the model's family.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "compress/prune_vocabulary.h"
#include "compress/source.h"
#include "compress/texts.h"
#include "support/golden_dir.h"
#include "support/loading.h"
#include "support/tiny_gguf.h"
#include "support/vocabulary_file.h"

using namespace nutshell;
using namespace nutshell::compress;

namespace {

std::string sample_text() {
  std::ifstream file(test::golden_dir() + "/text/docutils_problems.txt");
  REQUIRE(file.good());
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

GgufFile read_vocabulary(const char* variable) {
  uint64_t bytes = 0;
  const std::vector<uint8_t> prefix =
      testing::read_prefix(testing::required_path(variable), size_t{32} << 20, bytes);
  auto parsed = parse_gguf(prefix, bytes);
  REQUIRE_MESSAGE(parsed.ok(), parsed.status().message());
  REQUIRE(parsed->has_value());
  return std::move(**parsed);
}

TokenizerData tokenizer_data(const GgufFile& file) {
  auto data = read_tokenizer_data(file);
  REQUIRE_MESSAGE(data.ok(), data.status().message());
  return *data;
}

std::unique_ptr<Tokenizer> tokenizer_of(const GgufFile& file) {
  auto tokenizer = make_tokenizer(tokenizer_data(file));
  REQUIRE_MESSAGE(tokenizer.ok(), tokenizer.status().message());
  return std::move(*tokenizer);
}

}  // namespace

TEST_CASE("a pruned vocabulary splits its texts into the same tokens and writes every other text") {
  struct {
    const char* variable;
    size_t at_most;   // tokens that stay; the text has some 1,200 different ones
    bool every_text;  // WordPiece has no bytes to fall back to
  } const kCases[] = {{"NUTSHELL_VOCAB_QWEN2", 4000, true},
                      {"NUTSHELL_VOCAB_LLAMA_BPE", 6000, true},
                      {"NUTSHELL_VOCAB_LLAMA_SPM", 4000, true},
                      {"NUTSHELL_VOCAB_BERT_BGE", 4500, false}};
  const std::string text = sample_text();
  for (const auto& c : kCases) {
    CAPTURE(c.variable);
    GgufFile file = read_vocabulary(c.variable);
    const TokenizerData data = tokenizer_data(file);
    const auto before = tokenizer_of(file);
    const std::vector<int32_t> ids = before->encode(text, true);
    const auto kept = tokens_to_keep(data, ids);
    REQUIRE_MESSAGE(kept.ok(), kept.status().message());
    CHECK(std::is_sorted(kept->begin(), kept->end()));
    CHECK(kept->size() < c.at_most);
    const auto pruned = prune_vocabulary(header_of(std::move(file)), *kept);
    REQUIRE_MESSAGE(pruned.ok(), pruned.status().message());
    const TokenizerData small = tokenizer_data(pruned->metadata);
    CHECK(small.tokens.size() == kept->size());
    const auto after = tokenizer_of(pruned->metadata);
    std::vector<int32_t> mapped;
    for (const int32_t id : after->encode(text, true)) mapped.push_back((*kept)[static_cast<size_t>(id)]);
    CHECK(mapped == ids);
    const auto same = [&](int32_t old_id, int32_t new_id) {
      return old_id < 0 ? new_id < 0 : new_id >= 0 && (*kept)[static_cast<size_t>(new_id)] == old_id;
    };
    CHECK(same(data.bos, small.bos));
    CHECK(same(data.eos, small.eos));
    CHECK(same(data.cls, small.cls));
    CHECK(same(data.unknown, small.unknown));
    const std::string other =
        "Zygomorphic Q\xc3\xbc"
        "bits, \xe4\xb8\xad\xe6\x96\x87 and \xf0\x9f\xa6\x80!";
    if (c.every_text)
      CHECK(after->decode(after->encode(other, true), true) ==
            before->decode(before->encode(other, true), true));
    CHECK(after->encode(other, true).size() > before->encode(other, true).size());
  }
}

TEST_CASE("a pruned model gives the logits of the tokens it kept") {
  const auto bytes = std::make_shared<test::Bytes>(test::tiny_gguf().build());
  const ReadBytes read = [bytes](uint32_t, uint64_t offset, std::span<uint8_t> to) {
    std::memcpy(to.data(), bytes->data() + offset, to.size());
    return Status();
  };
  const auto open = [&] {
    auto header = parse_gguf(*bytes, bytes->size());
    REQUIRE(header.ok());
    return header_of(std::move(**header));
  };
  auto whole = open_source(open(), read);
  REQUIRE_MESSAGE(whole.ok(), whole.status().message());
  const Io io{read, {}, {}, nullptr};
  REQUIRE(run_to_end(read_weights(*whole), io).ok());
  std::vector<int32_t> kept;
  for (int32_t id = 0; id < 258; ++id)
    if (id % 5 != 3 || id >= 250) kept.push_back(id);
  auto header = prune_vocabulary(open(), kept);
  REQUIRE_MESSAGE(header.ok(), header.status().message());
  CHECK(header->tensors.find("token_embd.weight")->shape ==
        std::vector<int64_t>{64, static_cast<int64_t>(kept.size())});
  auto pruned = open_source(std::move(*header), read);
  REQUIRE_MESSAGE(pruned.ok(), pruned.status().message());
  REQUIRE(run_to_end(read_weights(*pruned), io).ok());
  CHECK(pruned->hparams.n_vocab == static_cast<int64_t>(kept.size()));
  ThreadPool pool(1);
  const std::vector<int32_t> places = {0, 7, 100, 30, 2};
  std::vector<int32_t> ids;
  for (const int32_t place : places) ids.push_back(kept[static_cast<size_t>(place)]);
  FloatRun a(whole->graph, whole->weights, pool), b(pruned->graph, pruned->weights, pool);
  a.forward(ids, false);
  b.forward(places, false);
  for (int64_t t = 0; t < 5; ++t)
    for (size_t i = 0; i < kept.size(); ++i)
      CHECK(b.logits()(t, static_cast<int64_t>(i)) == doctest::Approx(a.logits()(t, kept[i])).epsilon(1e-5));
}

TEST_CASE("conversations are written with the turns of the model's family") {
  const std::string talk =
      R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]})";
  struct {
    const char *variable, *text;
  } const kCases[] = {
      {"NUTSHELL_VOCAB_QWEN2", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n"},
      {"NUTSHELL_VOCAB_LLAMA_BPE",
       "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>"
       "\n\nYes?<|eot_id|>"},
      {"NUTSHELL_VOCAB_PHI_3", "<|user|>\nHi<|end|>\n<|assistant|>\nYes?<|end|>\n"},
      {"NUTSHELL_VOCAB_GPT_2", "User: Hi\n\nAssistant: Yes?\n\n"}};
  for (const auto& c : kCases) {
    CAPTURE(c.variable);
    const auto tokenizer = tokenizer_of(read_vocabulary(c.variable));
    const auto ids = encode_calibration(*tokenizer, "a.jsonl", talk + "\n\n");
    REQUIRE_MESSAGE(ids.ok(), ids.status().message());
    CHECK(*ids == tokenizer->encode(c.text, true));
    CHECK(encode_calibration(*tokenizer, "a.txt", talk).value() == tokenizer->encode(talk, true));
    for (const char* broken :
         {"{", "[]", "{\"messages\": 3}", "{\"messages\": [{\"role\": \"god\"}]}", "{\"messages\": [7]}"}) {
      const auto refused = encode_calibration(*tokenizer, "a.jsonl", talk + "\n" + broken);
      CHECK(refused.status().code() == ErrorCode::corrupt_file);
      CHECK(refused.status().message().find("line 2") != std::string::npos);
    }
  }
}

TEST_CASE("windows of a text begin and end with the tokens that the model's texts do") {
  const std::vector<int32_t> tokens = {5, 6, 7, 8, 9}, first = {1}, last = {2};
  CHECK(frame_windows(tokens, 3, first, {}) == std::vector<int32_t>{1, 5, 6, 1, 7, 8, 1, 9});
  CHECK(frame_windows(tokens, 4, first, last) == std::vector<int32_t>{1, 5, 6, 2, 1, 7, 8, 2, 1, 9});
  CHECK(frame_windows({}, 3, first, last).empty());
}
