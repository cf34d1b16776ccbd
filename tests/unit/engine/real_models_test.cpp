// Real models against llama.cpp: greedy tokens and logits (goldens of scripts/golden/make_logits.py), and the
// perplexity of a fixed text (make_perplexity.py). llama.cpp's own 8-bit runs cost likelihood against F32
// arithmetic, so its two runs are the ends of the band ours must be in.
// SmolLM2 in every build; under --full the larger ones natively (browsers: tests/browser/stories/models.mjs).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/rng.h"
#include "engine/quality.h"
#include "support/forced_decoding.h"
#include "support/golden.h"
#include "support/model_file.h"

using namespace nutshell;
using nlohmann::json;

namespace {

// Builds in which a window of text takes many times longer score only the first two.
#if defined(__SANITIZE_ADDRESS__) || defined(__EMSCRIPTEN__)
constexpr bool kSlow = true;
#else
constexpr bool kSlow = false;
#endif
const bool kSkipLarge = kSlow || std::getenv("NUTSHELL_FULL") == nullptr;

std::string read_text(const std::string& name) {
  std::ifstream in(test::golden_dir() + "/text/" + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// FNV-1a over the ids as little-endian uint32.
uint64_t checksum(const std::vector<int32_t>& ids) {
  std::string bytes;
  for (const int32_t id : ids)
    for (int shift = 0; shift < 32; shift += 8)
      bytes.push_back(static_cast<char>(static_cast<uint32_t>(id) >> shift & 0xFF));
  return fnv1a(bytes);
}

// The first n_windows windows of the text, one after the other; what stands before a text begins each.
std::vector<int32_t> windows_of(const Tokenizer& tokenizer, const json& golden) {
  const auto window = golden["window"].get<size_t>(), n_windows = golden["windows"].get<size_t>();
  const std::span<const int32_t> prefix = tokenizer.prefix();
  const std::vector<int32_t> text = tokenizer.encode(read_text("docutils_problems.txt"), false);
  REQUIRE(text.size() == golden["text_tokens"].get<size_t>());
  const size_t each = window - prefix.size();
  std::vector<int32_t> ids;
  for (size_t i = 0; i < n_windows; ++i) {
    ids.insert(ids.end(), prefix.begin(), prefix.end());
    const std::span<const int32_t> part = std::span(text).subspan(i * each, each);
    ids.insert(ids.end(), part.begin(), part.end());
  }
  CHECK(checksum(ids) == std::stoull(golden["ids_fnv1a64"].get<std::string>(), nullptr, 16));
  return ids;
}

// exp of the mean of the first n of the golden's windows.
double perplexity(const json& run, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += run["window_mean_nll"][i].get<double>();
  return std::exp(sum / static_cast<double>(n));
}

// The largest distance of a window of llama.cpp's own 8-bit runs from the F32 run: the noise of one window.
double window_noise(const json& runs) {
  double largest = 0;
  for (const char* name : {"q8", "q8_with_f32_cache"})
    for (size_t i = 0; i < runs["f32"]["window_mean_nll"].size(); ++i)
      largest = std::max(largest, std::fabs(runs[name]["window_mean_nll"][i].get<double>() -
                                            runs["f32"]["window_mean_nll"][i].get<double>()));
  return largest;
}

void follow_llama_cpp(const char* variable, const std::string& name) {
  ThreadPool pool(2);
  LoadOptions options;
  options.context_size = 1024;
  const auto model = test::load_model(test::path_from_environment(variable), pool, options);
  test::follow_llama_cpp(*model, test::read_golden("logits/" + name + ".json"));
}

void compare_perplexity(const char* variable, const std::string& name) {
  const json golden = test::read_golden("logits/" + name + "_ppl.json");
  const json& runs = golden["runs"];
  const auto window = golden["window"].get<size_t>(), all = golden["windows"].get<size_t>();
  const size_t n = kSlow ? 2 : all;
  ThreadPool pool(2);
  LoadOptions options;
  options.context_size = static_cast<int64_t>(window);
  options.max_outputs = 128;
  const auto model = test::load_model(test::path_from_environment(variable), pool, options);
  std::vector<int32_t> ids = windows_of(*model->tokenizer, golden);
  ids.resize(n * window);

  const auto report = measure_quality(*model, nullptr, ids, static_cast<int64_t>(window), pool);
  REQUIRE_MESSAGE(report.ok(), report.status().message());
  CHECK(report->scored == static_cast<int64_t>(n * (window - 1)));
  REQUIRE(report->window_nll.size() == n);
  const double q8 = perplexity(runs["q8"], n), f32 = perplexity(runs["f32"], n);
  MESSAGE(name, ": perplexity ", report->perplexity, "; llama.cpp ", q8, ", with F32 arithmetic ", f32);
  const double limit = golden["head"]["tolerance"]["relative"].get<double>();
  if (n == all) {
    CHECK(report->perplexity <= std::max(q8, f32) * (1 + limit));
    CHECK(report->perplexity >= std::min(q8, f32) * (1 - limit));
  }
  // Every window, too: ours is one more draw of that noise, so twice the worst measured.
  for (size_t i = 0; i < n; ++i) {
    CAPTURE(i);
    const double difference = report->window_nll[i] - runs["f32"]["window_mean_nll"][i].get<double>();
    CHECK(std::fabs(difference) <= 2 * window_noise(runs));
  }
}

}  // namespace

TEST_CASE("SmolLM2 follows llama.cpp on eight prompts") {
  follow_llama_cpp("NUTSHELL_MODEL_SMOLLM2", "smollm2");
}
TEST_CASE("SmolLM2's perplexity is within 0.5 % of llama.cpp's") {
  compare_perplexity("NUTSHELL_MODEL_SMOLLM2", "smollm2");
}
TEST_CASE("Gemma 3 270M follows llama.cpp on eight prompts" * doctest::skip(kSkipLarge)) {
  follow_llama_cpp("NUTSHELL_MODEL_GEMMA3", "gemma3");
}
TEST_CASE("Gemma 3 270M's perplexity is within 0.5 % of llama.cpp's" * doctest::skip(kSkipLarge)) {
  compare_perplexity("NUTSHELL_MODEL_GEMMA3", "gemma3");
}
TEST_CASE("Qwen2.5-Coder follows llama.cpp on eight prompts" * doctest::skip(kSkipLarge)) {
  follow_llama_cpp("NUTSHELL_MODEL_QWEN_CODER", "qwen-coder");
}
TEST_CASE("Qwen2.5-Coder's perplexity is within 0.5 % of llama.cpp's" * doctest::skip(kSkipLarge)) {
  compare_perplexity("NUTSHELL_MODEL_QWEN_CODER", "qwen-coder");
}
