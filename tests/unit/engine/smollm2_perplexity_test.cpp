// Perplexity of the real SmolLM2 against llama.cpp's logits scored the same way
// (tests/golden/logits/smollm2_ppl.json, made by scripts/golden/make_perplexity.py). llama.cpp's own 8-bit
// runs cost likelihood against F32 arithmetic, so the two oracles are the ends of the band we must be in.
// All windows in the plain native build; the first two where a window takes many times longer.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>

#include "base/rng.h"
#include "engine/quality.h"
#include "support/golden.h"
#include "support/model_file.h"

using namespace nutshell;
using nlohmann::json;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__EMSCRIPTEN__)
constexpr size_t kWindows = 2;
#else
constexpr size_t kWindows = 8;
#endif

std::string read_text(const std::string& name) {
  std::ifstream in(std::string(NUTSHELL_GOLDEN_DIR) + "/text/" + name, std::ios::binary);
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

// Mean of the first n of the golden's windows.
double mean_nll(const json& run, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += run["window_mean_nll"][i].get<double>();
  return sum / static_cast<double>(n);
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

}  // namespace

TEST_CASE("SmolLM2's perplexity is within 0.5 % of llama.cpp's") {
  const json golden = test::read_golden("logits/smollm2_ppl.json");
  const json& runs = golden["runs"];
  const auto window = golden["window"].get<size_t>();
  REQUIRE(golden["windows"].get<size_t>() == 8);
  ThreadPool pool(2);
  LoadOptions options;
  options.context_size = static_cast<int64_t>(window);
  options.max_outputs = 128;
  const auto model = test::load_model(test::path_from_environment("NUTSHELL_MODEL_SMOLLM2"), pool, options);

  std::vector<int32_t> ids = model->tokenizer->encode(read_text("docutils_problems.txt"), false);
  REQUIRE(ids.size() == golden["text_tokens"].get<size_t>());
  ids.resize(golden["tokens"].get<size_t>());
  CHECK(checksum(ids) == std::stoull(golden["ids_fnv1a64"].get<std::string>(), nullptr, 16));
  ids.resize(kWindows * window);

  const auto report = measure_quality(*model, nullptr, ids, static_cast<int64_t>(window));
  REQUIRE_MESSAGE(report.ok(), report.status().message());
  CHECK(report->scored == static_cast<int64_t>(kWindows * (window - 1)));
  REQUIRE(report->window_nll.size() == kWindows);
  MESSAGE("perplexity ", report->perplexity, "; llama.cpp ", std::exp(mean_nll(runs["q8"], kWindows)),
          ", with F32 arithmetic ", std::exp(mean_nll(runs["f32"], kWindows)));
  const double limit = golden["head"]["tolerance"]["relative"].get<double>();
  if (kWindows == 8) {
    CHECK(report->perplexity <= runs["q8"]["perplexity"].get<double>() * (1 + limit));
    CHECK(report->perplexity >= runs["f32"]["perplexity"].get<double>() * (1 - limit));
  }
  // Every window, too: ours is one more draw of that noise, so twice the worst of the 16 measured.
  for (size_t i = 0; i < kWindows; ++i) {
    CAPTURE(i);
    const double difference = report->window_nll[i] - runs["f32"]["window_mean_nll"][i].get<double>();
    CHECK(std::fabs(difference) <= 2 * window_noise(runs));
  }
}
