// Tiny random llama models against logits computed in double precision by an independent implementation
// (tests/golden/logits/tiny_llama.json, made by scripts/golden/make_tiny.py and cross-checked with
// llama.cpp).
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

#include "support/golden.h"
#include "support/reference_backend.h"
#include "support/tiny_llama.h"

using namespace nutshell;
using nlohmann::json;

namespace {

// Runs tokens in steps of `chunk` and returns the logits at `positions`.
std::vector<std::vector<float>> run_chunks(Backend& backend, const std::vector<int32_t>& tokens, size_t chunk,
                                           const std::vector<int64_t>& positions) {
  std::vector<std::vector<float>> logits;
  for (size_t at = 0; at < tokens.size(); at += chunk) {
    const size_t n = std::min(chunk, tokens.size() - at);
    std::vector<int32_t> rows;
    for (int64_t p : positions)
      if (p >= static_cast<int64_t>(at) && p < static_cast<int64_t>(at + n))
        rows.push_back(static_cast<int32_t>(p - static_cast<int64_t>(at)));
    const Status status = backend.run({std::span(tokens).subspan(at, n), static_cast<int64_t>(at), rows});
    REQUIRE_MESSAGE(status.ok(), status.message());
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto row = backend.logits(static_cast<int64_t>(i));
      logits.emplace_back(row.begin(), row.end());
    }
  }
  return logits;
}

// Relative root mean square difference.
double nrmse(const std::vector<float>& got, const json& want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double w = want[i].get<double>();
    error += (got[i] - w) * (got[i] - w);
    norm += w * w;
  }
  return std::sqrt(error / norm);
}

// Where the error may come from: f32 sums of up to 96 terms, five in a row per layer and two layers, give
// about sqrt(96) * 10 * 2^-24 = 6e-6; keys and values are kept as f16 (relative 2^-12 each, averaged over
// heads and positions), which dominates: two layers of 2^-12 add up to at most 5e-4.
constexpr double kTolerance = 5e-4;

}  // namespace

TEST_CASE("tiny llama models give the golden logits, in one go, in chunks and token by token") {
  const json golden = test::read_golden("logits/tiny_llama.json");
  const std::vector<int32_t> tokens = golden["tokens"].get<std::vector<int32_t>>();
  const std::vector<int64_t> positions = golden["positions"].get<std::vector<int64_t>>();
  const uint64_t seed = golden["head"]["seed"].get<uint64_t>();
  ThreadPool pool(2);
  for (const json& variant : golden["variants"]) {
    const std::string name = variant["name"];
    CAPTURE(name);
    const test::TinyLlama model = test::make_tiny_llama(variant, seed);
    for (size_t chunk : {size_t{40}, size_t{16}, size_t{7}, size_t{1}}) {
      CAPTURE(chunk);
      const auto backend = test::make_tiny_backend(model, pool, {64, 40, 40});
      const auto logits = run_chunks(*backend, tokens, chunk, positions);
      REQUIRE(logits.size() == positions.size());
      for (size_t i = 0; i < logits.size(); ++i) {
        CAPTURE(positions[i]);
        CHECK(nrmse(logits[i], variant["logits"][i]) < kTolerance);
      }
    }
  }
}

// The oracle computes in double precision, so only the rounding of the golden's printed digits is left.
TEST_CASE("the reference back end gives the golden logits of the tiny models") {
  const json golden = test::read_golden("logits/tiny_llama.json");
  for (const json& variant : golden["variants"]) {
    const test::TinyLlama model = test::make_tiny_llama(variant, golden["head"]["seed"].get<uint64_t>());
    test::ReferenceBackend backend;
    test::fill_backend(model, backend, {64, 40, 40});
    const auto logits = run_chunks(backend, golden["tokens"].get<std::vector<int32_t>>(), 16,
                                   golden["positions"].get<std::vector<int64_t>>());
    for (size_t i = 0; i < logits.size(); ++i) CHECK(nrmse(logits[i], variant["logits"][i]) < 2e-7);
  }
}

TEST_CASE("the weights of the golden models are reproduced bit by bit") {
  const json golden = test::read_golden("logits/tiny_llama.json");
  const uint64_t seed = golden["head"]["seed"].get<uint64_t>();
  int compared = 0;
  for (const json& variant : golden["variants"]) {
    const test::TinyLlama model = test::make_tiny_llama(variant, seed);
    for (const test::TinyTensor& t : model.tensors) {
      if (!variant["weights"].contains(t.name)) continue;
      const auto bytes =
          std::string_view(reinterpret_cast<const char*>(t.values.data()), t.values.size() * 4);
      char hash[17];
      std::snprintf(hash, sizeof(hash), "%016llx", static_cast<unsigned long long>(fnv1a(bytes)));
      CHECK_MESSAGE(variant["weights"][t.name]["f32_fnv1a64"] == hash, t.name);
      ++compared;
    }
  }
  CHECK(compared > 20);
}

TEST_CASE("rolling the KV cache back and running again gives the same logits") {
  const json golden = test::read_golden("logits/tiny_llama.json");
  const std::vector<int32_t> tokens = golden["tokens"].get<std::vector<int32_t>>();
  const test::TinyLlama model =
      test::make_tiny_llama(golden["variants"][0], golden["head"]["seed"].get<uint64_t>());
  ThreadPool pool(1);
  const auto backend = test::make_tiny_backend(model, pool, {64, 40, 1});
  const int32_t last = 39, first = 0;
  REQUIRE(backend->run({tokens, 0, {&last, 1}}).ok());
  const std::vector<float> whole(backend->logits(0).begin(), backend->logits(0).end());
  const std::vector<int32_t> other = {3, 1, 4, 1, 5};
  REQUIRE(backend->run({other, 20, {}}).ok());  // something else from position 20 on
  REQUIRE(backend->run({std::span(tokens).subspan(20, 19), 20, {}}).ok());
  REQUIRE(backend->run({std::span(tokens).subspan(39, 1), 39, {&first, 1}}).ok());
  const auto again = backend->logits(0);
  double difference = 0;
  for (size_t i = 0; i < whole.size(); ++i)
    difference = std::max(difference, std::fabs(static_cast<double>(whole[i] - again[i])));
  CHECK(difference < 1e-3);
}
