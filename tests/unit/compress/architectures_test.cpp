// The compressor on every architecture of the model layer, by the tiny random models of tests/golden/models.
#include <doctest/doctest.h>

#include <algorithm>

#include "support/compress_tiny.h"
#include "support/loading.h"

using namespace nutshell;
using namespace nutshell::compress;
using namespace nutshell::test;
using nlohmann::json;

namespace {

// Calls f(name of the architecture, of the variant) for every one that generates.
template <typename F>
void for_every_model(F f) {
  for (const ArchDef* arch : all_architectures()) {
    const std::string name(arch->name);
    if (name == "bert") continue;  // embedding_test.cpp
    CAPTURE(name);
    const json golden = read_golden("models/" + name + ".json");
    for (const json& variant : golden["variants"]) {
      const std::string variant_name = variant["name"];
      CAPTURE(variant_name);
      f(name, variant_name);
    }
  }
}

double distance(const std::vector<float>& got, const std::vector<float>& want) {
  return nrmse(got, std::vector<double>(want.begin(), want.end()));
}

bool names(const CompressReport& report, const std::string& tensor) {
  return std::any_of(report.bits.begin(), report.bits.end(),
                     [&](auto& each) { return each.first == tensor; });
}

}  // namespace

TEST_CASE("compress: every architecture becomes a file without data that runs, nearer with more bits") {
  ThreadPool pool(2);
  for_every_model([&](const std::string& name, const std::string& variant) {
    const auto bytes = golden_bytes(name, variant);
    auto source = open_bytes(bytes);
    REQUIRE_MESSAGE(source.ok(), source.status().message());
    const std::vector<int32_t> tokens = random_tokens(24, 1, 128);
    const std::vector<float> original = logits_of(pool, {{"original.gguf", *bytes}}, tokens);
    double before = 1e30;
    for (const double bits : {2.0, 16.0}) {
      CAPTURE(bits);
      CompressOptions options;
      options.data_free = true;
      options.bits = bits;
      if (bits == 2.0) {  // the fewest: what is refused says how many bytes that is
        options.bits = 1;
        const std::string refused = compress_tiny(*source, options, 1).status.message();
        options.bits = 0;
        options.size_bytes = std::stoull(refused.substr(refused.find_last_of(' ') + 1));
      }
      const Compressed made = compress_tiny(*source, options, 2);
      REQUIRE_MESSAGE(made.status.ok(), made.status.message());
      if (name == "phi3") CHECK(names(made.report, "blk.0.attn_qkv.weight"));
      if (name == "qwen3moe" || name == "gpt-oss") {
        CHECK(names(made.report, "blk.0.ffn_down_exps.weight"));
        CHECK_FALSE(names(made.report, "blk.0.ffn_gate_inp.weight"));
      }
      if (name == "deepseek2")
        CHECK(names(made.report, variant == "v2_whole_up_projection" ? "blk.0.attn_kv_b.weight"
                                                                     : "blk.0.attn_v_b.weight"));
      const double error = distance(logits_of(pool, {{"coded.gguf", made.file}}, tokens), original);
      CHECK(error > 1e-3);
      CHECK(error < before);
      before = error;
    }
    // 4 bits leave 8 % of a matrix's norm, which layers of random matrices do not dampen, and a token may be
    // sent to other experts. What has nothing to do with each other is 1.4 apart.
    CHECK(before < (name == "qwen3moe" || name == "gpt-oss" || name == "deepseek2" ? 0.9 : 0.5));
  });
}

TEST_CASE("compress: what is calibrated knows of every architecture whether it can be") {
  for_every_model([&](const std::string& name, const std::string& variant) {
    auto source = open_bytes(golden_bytes(name, variant));
    REQUIRE_MESSAGE(source.ok(), source.status().message());
    const bool measures = source->measurable.ok();
    CHECK(measures == (name != "phi3" && name != "gpt2" && name != "gpt-oss" && name != "qwen3moe" &&
                       name != "deepseek2"));
    if (measures) {  // what is measured is the model that the engine runs
      ThreadPool pool(2);
      const std::vector<int32_t> tokens = random_tokens(24, 1, 128);
      FloatRun run(source->graph, source->weights, pool);
      run.forward(tokens, false);
      const Matrix& logits = run.logits();
      const auto last = logits.row(logits.rows() - 1);
      CHECK(distance({last.data(), last.data() + last.size()},
                     logits_of(pool, {{"original.gguf", *golden_bytes(name, variant)}}, tokens)) <
            kTinyCpuTolerance);
    }
    CompressOptions options;
    options.bits = 12;
    options.window_tokens = 64;
    options.windows = 4;
    options.held_out = 2;
    const Compressed made =
        compress_texts(*source, options, random_tokens(256, 1, 128), random_tokens(256, 2, 128), 2);
    CHECK(made.status.ok() == measures);
    if (measures) {
      CHECK(made.report.quality.mean_kl > 0);
      CHECK(made.report.quality.mean_kl < 1);
      CHECK(made.report.quality.scored > 0);
    } else {
      CHECK(made.status.code() == ErrorCode::unsupported_architecture);
      CHECK(made.status.message().find("--data-free") != std::string::npos);
      CHECK(made.file.empty());
    }
  });
}
