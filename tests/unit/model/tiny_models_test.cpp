// A tiny random model of every architecture against logits that `transformers` computes in double precision
// (tests/golden/models, made by scripts/golden/make_model.py and checked against llama.cpp).
#include <doctest/doctest.h>

#include <cmath>

#include "support/golden.h"
#include "support/reference_backend.h"
#include "support/tiny_model.h"

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

// Calls f(golden, variant) for every variant of every architecture; each must have a golden.
template <typename F>
void for_every_model(F f) {
  for (const ArchDef* arch : all_architectures()) {
    const std::string name(arch->name);
    CAPTURE(name);
    const json golden = test::read_golden("models/" + name + ".json");
    REQUIRE(!golden["variants"].empty());
    for (const json& variant : golden["variants"]) {
      const std::string variant_name = variant["name"];
      CAPTURE(variant_name);
      f(golden, variant);
    }
  }
}

// Every token sees the whole text, which therefore is one step.
bool reads_whole(const test::TinyModel& m) { return m.hparams.pooling != Pooling::none; }

// On the oracle, which computes in double precision, what is left is rounded: the logits it answers (2^-25),
// the golden's printed digits, and hyperparameters that a file holds as f32 (2^-25 of an epsilon or of a RoPE
// frequency: at most 2^-25 of an angle of 95).
constexpr double kReferenceTolerance = 3e-6;

}  // namespace

TEST_CASE("tiny models: the CPU gives the golden logits, in one go, in chunks and token by token") {
  ThreadPool pool(2);
  for_every_model([&](const json& golden, const json& variant) {
    const auto tokens = golden["tokens"].get<std::vector<int32_t>>();
    const auto positions = golden["positions"].get<std::vector<int64_t>>();
    const test::TinyModel model = test::make_tiny_model(golden, variant);
    const auto n = static_cast<int64_t>(tokens.size());
    for (size_t chunk : {tokens.size(), size_t{32}, size_t{7}, size_t{1}}) {
      CAPTURE(chunk);
      if (reads_whole(model) && chunk < tokens.size()) continue;
      const auto backend = make_cpu_backend(pool);
      test::fill_backend(model, *backend, {n, n, n});
      const auto logits = run_chunks(*backend, tokens, chunk, positions);
      REQUIRE(logits.size() == positions.size());
      for (size_t i = 0; i < logits.size(); ++i) {
        CAPTURE(positions[i]);
        CHECK(test::nrmse(logits[i], variant["logits"][i]) < test::kTinyCpuTolerance);
      }
    }
  });
}

TEST_CASE("tiny models: the reference back end gives the golden logits") {
  for_every_model([&](const json& golden, const json& variant) {
    const test::TinyModel model = test::make_tiny_model(golden, variant);
    test::ReferenceBackend backend;
    test::fill_backend(model, backend, {96, 96, 96});
    const auto logits =
        run_chunks(backend, golden["tokens"].get<std::vector<int32_t>>(), reads_whole(model) ? 96 : 32,
                   golden["positions"].get<std::vector<int64_t>>());
    for (size_t i = 0; i < logits.size(); ++i)
      CHECK(test::nrmse(logits[i], variant["logits"][i]) < kReferenceTolerance);
  });
}

TEST_CASE("tiny models: rolling the KV cache back and running again gives the same logits") {
  ThreadPool pool(1);
  for_every_model([&](const json& golden, const json& variant) {
    const auto tokens = golden["tokens"].get<std::vector<int32_t>>();
    const test::TinyModel model = test::make_tiny_model(golden, variant);
    if (reads_whole(model)) return;
    const auto backend = make_cpu_backend(pool);
    test::fill_backend(model, *backend, {128, 96, 1});
    const int32_t last = 95, first = 0;
    REQUIRE(backend->run({tokens, 0, {&last, 1}}).ok());
    const std::vector<float> whole(backend->logits(0).begin(), backend->logits(0).end());
    const std::vector<int32_t> other = {3, 1, 4, 1, 5};
    const auto back = static_cast<size_t>(backend->resume_point(40));
    REQUIRE(backend->run({other, static_cast<int64_t>(back), {}}).ok());  // something else from there on
    REQUIRE(backend->run({std::span(tokens).subspan(back, 95 - back), static_cast<int64_t>(back), {}}).ok());
    REQUIRE(backend->run({std::span(tokens).subspan(95, 1), 95, {&first, 1}}).ok());
    const std::vector<double> again(backend->logits(0).begin(), backend->logits(0).end());
    CHECK(test::nrmse(whole, again) < test::kTinyCpuTolerance);
  });
}
