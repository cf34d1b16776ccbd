#include "model/rope_scaling.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "model/arch/arch.h"
#include "support/gguf_writer.h"

using namespace nutshell;

TEST_CASE("plain frequencies fall geometrically from 1") {
  const RopeSpec spec = make_rope({.n_rot = 64, .freq_base = 10000.0});
  REQUIRE(spec.inv_freq.size() == 32);
  CHECK(spec.inv_freq[0] == doctest::Approx(1.0));
  CHECK(spec.inv_freq[16] == doctest::Approx(0.01));
  CHECK(spec.inv_freq[31] == doctest::Approx(std::pow(10000.0, -62.0 / 64.0)));
  CHECK(spec.magnitude == 1.0f);
}

TEST_CASE("linear scaling divides every frequency") {
  const RopeSpec plain = make_rope({.n_rot = 16});
  const RopeSpec linear = make_rope({.n_rot = 16, .scaling = RopeScaling::linear, .factor = 4.0});
  for (size_t i = 0; i < 8; ++i) CHECK(linear.inv_freq[i] == doctest::Approx(plain.inv_freq[i] / 4));
}

TEST_CASE("frequency factors divide, and broken ones are ignored") {
  const std::vector<float> factors = {1.0f, 8.0f, 0.0f, NAN};
  const RopeSpec plain = make_rope({.n_rot = 8});
  const RopeSpec spec = make_rope({.n_rot = 8}, factors);
  CHECK(spec.inv_freq[0] == doctest::Approx(plain.inv_freq[0]));
  CHECK(spec.inv_freq[1] == doctest::Approx(plain.inv_freq[1] / 8));
  CHECK(spec.inv_freq[2] == doctest::Approx(plain.inv_freq[2]));
  CHECK(spec.inv_freq[3] == doctest::Approx(plain.inv_freq[3]));
}

TEST_CASE("YaRN keeps fast waves, interpolates slow ones and raises the magnitude") {
  const RopeParams params{
      .n_rot = 128, .freq_base = 10000.0, .scaling = RopeScaling::yarn, .factor = 8.0, .n_ctx_orig = 4096};
  const RopeSpec plain = make_rope({.n_rot = 128});
  const RopeSpec spec = make_rope(params);
  CHECK(spec.inv_freq[0] == doctest::Approx(plain.inv_freq[0]));
  CHECK(spec.inv_freq[63] == doctest::Approx(plain.inv_freq[63] / 8));
  CHECK(spec.magnitude == doctest::Approx(1.0 + 0.1 * std::log(8.0)));
  // The ramp runs from pair floor(64 ln(4096 / 64 pi) / ln 10000) = 20 to ceil(64 ln(4096 / 2 pi) / ln 10000)
  // = 46.
  CHECK(spec.inv_freq[20] == doctest::Approx(plain.inv_freq[20]));
  CHECK(spec.inv_freq[46] == doctest::Approx(plain.inv_freq[46] / 8));
  const double mix = 1.0 - 13.0 / 26.0;
  CHECK(spec.inv_freq[33] == doctest::Approx(plain.inv_freq[33] * ((1 - mix) / 8 + mix)));
}

TEST_CASE("YaRN's ramp between pairs, as gpt-oss has it") {
  const RopeParams params{.n_rot = 128,
                          .freq_base = 10000.0,
                          .scaling = RopeScaling::yarn,
                          .factor = 8.0,
                          .n_ctx_orig = 4096,
                          .whole_pairs = false};
  const RopeSpec plain = make_rope({.n_rot = 128});
  const RopeSpec spec = make_rope(params);
  const auto turn_index = [](double turns) {
    return 64.0 * std::log(4096.0 / (turns * 2.0 * 3.141592653589793)) / std::log(10000.0);
  };
  const double low = turn_index(32.0), high = turn_index(1.0);
  CHECK(low == doctest::Approx(20.9).epsilon(0.01));
  CHECK(spec.inv_freq[20] == doctest::Approx(plain.inv_freq[20]));
  const double mix = 1.0 - (21.0 - low) / (high - low);
  CHECK(spec.inv_freq[21] == doctest::Approx(plain.inv_freq[21] * ((1 - mix) / 8 + mix)));
}

TEST_CASE("LongRoPE changes frequencies by its divisors alone") {
  const std::vector<float> factors = {1.0f, 2.0f};
  const RopeSpec plain = make_rope({.n_rot = 4});
  const RopeSpec spec =
      make_rope({.n_rot = 4, .scaling = RopeScaling::longrope, .factor = 8.0, .attn_factor = 1.19}, factors);
  CHECK(spec.inv_freq[0] == doctest::Approx(plain.inv_freq[0]));
  CHECK(spec.inv_freq[1] == doctest::Approx(plain.inv_freq[1] / 2));
  CHECK(spec.magnitude == doctest::Approx(1.19));
}

TEST_CASE("LongRoPE is refused by name where no architecture file applies it") {
  test::GgufWriter w;
  w.add("general.architecture", "qwen3");
  for (const char* key :
       {"block_count", "embedding_length", "feed_forward_length", "context_length", "attention.head_count"})
    w.add(std::string("qwen3.") + key, uint32_t{4});
  w.add("qwen3.rope.scaling.type", "longrope");
  w.add("qwen3.attention.key_length", uint32_t{8});
  w.add_strings("tokenizer.ggml.tokens", {"a"});
  const test::Bytes bytes = w.build();
  const auto file = parse_gguf(bytes, bytes.size());
  REQUIRE(file.ok());
  const auto arch = find_architecture("qwen3");
  const auto hparams = read_hparams(**arch, **file);
  REQUIRE_FALSE(hparams.ok());
  CHECK(hparams.status().code() == ErrorCode::unsupported_architecture);
  CHECK(hparams.status().message().find("'longrope'") != std::string::npos);
}
