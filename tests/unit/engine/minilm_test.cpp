// all-MiniLM-L6-v2 from its fp32 folder against transformers (tests/golden/embeddings/minilm.json).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/embed.h"
#include "support/golden.h"
#include "support/model_file.h"

using namespace nutshell;
using nlohmann::json;

namespace {

// The optimised native build does all texts; where the same code is several times slower, every fifth shows
// that it computes the same.
#if defined(__EMSCRIPTEN__) || defined(__SANITIZE_ADDRESS__)
constexpr size_t kStep = 5;
#else
constexpr size_t kStep = 1;
#endif

// Two characters a value (scripts/golden/make_embeddings.py).
std::vector<double> stored_vector(const json& entry, const std::string& alphabet) {
  const std::string text = entry["vector"];
  const double scale = entry["scale"];
  std::vector<double> out;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    const auto code = static_cast<double>(alphabet.find(text[i]) * 64 + alphabet.find(text[i + 1]));
    out.push_back((code - 2048) / 2047 * scale);
  }
  return out;
}

double length(const std::vector<double>& v) {
  double squares = 0;
  for (const double x : v) squares += x * x;
  return std::sqrt(squares);
}

// In radians, exact for small angles.
double angle(std::vector<double> a, const std::vector<double>& b) {
  const double la = length(a), lb = length(b);
  for (size_t i = 0; i < a.size(); ++i) a[i] = a[i] / la - b[i] / lb;
  return 2 * std::asin(std::min(1.0, length(a) / 2));
}

}  // namespace

TEST_CASE("MiniLM embeds 200 texts as transformers does") {
  const json golden = test::read_golden("embeddings/minilm.json");
  const std::string folder = test::path_from_environment("NUTSHELL_MODEL_MINILM");
  ThreadPool pool(2);
  const auto model = test::load_model(
      {folder + "/config.json", folder + "/tokenizer.json", folder + "/model.safetensors"}, pool, {});
  const std::string alphabet = golden["head"]["alphabet"];
  // A cosine of 0.9999 to the exact vector, of which what is stored is at most storage_angle away.
  const double allowed = std::acos(0.9999) - golden["head"]["storage_angle"].get<double>();
  REQUIRE(golden["texts"].size() == 200);
  double largest = 0;
  for (size_t i = 0; i < golden["texts"].size(); i += kStep) {
    const json& entry = golden["texts"][i];
    const std::string text = entry["text"];
    CAPTURE(text);
    const auto e = embed_text(*model, text);
    REQUIRE_MESSAGE(e.ok(), e.status().message());
    CHECK(e->n_tokens == entry["tokens"].get<int64_t>());
    CHECK(e->truncated == entry["truncated"].get<bool>());
    const std::vector<double> got(e->values.begin(), e->values.end()), want = stored_vector(entry, alphabet);
    REQUIRE(got.size() == want.size());
    CHECK(std::fabs(length(got) - 1) < 1e-6);
    const double a = angle(got, want);
    CHECK(a < allowed);
    largest = std::max(largest, a);
  }
  MESSAGE("largest angle to what is stored: ", largest);
}
