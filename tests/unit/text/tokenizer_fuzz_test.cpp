// Runs the fuzz target of the tokenizer over deterministic inputs: random bytes, random characters, and
// pieces that matter to tokenizers put together at random.
#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "base/rng.h"
#define NUTSHELL_FUZZ_INCLUDED
#include "fuzz/fuzz_tokenizer.cpp"

using namespace nutshell;

TEST_CASE("tokenizer fuzz target: 6,000 deterministic inputs") {
  static constexpr const char* kPieces[] = {"a",
                                            "ab",
                                            " ",
                                            "\n",
                                            "\xFE",
                                            "\xFE",
                                            "'s",
                                            "12",
                                            "e\xCC\x81",
                                            "\xE4\xB8\xAD",
                                            "\xF0\x9F\x9A\x80",
                                            "<|x|>",
                                            "\xC4\xA0",
                                            "\xC4\xA0 a",
                                            "  ",
                                            "\xCC\xA3",
                                            "\xFF",
                                            "\xE2\x96\x81",
                                            "A"};
  for (uint64_t seed = 0; seed < 6000; ++seed) {
    std::string bytes(1, static_cast<char>(counter_rng(seed, 0) >> 16));
    const uint64_t length = counter_rng(seed, 1) % 60;
    for (uint64_t i = 0; i < length; ++i) {
      const uint64_t r = counter_rng(seed, i + 2);
      if (seed % 3 == 0) {
        bytes += static_cast<char>(r >> 24);
      } else if (seed % 3 == 1 && r % 2) {
        append_utf8(bytes, static_cast<uint32_t>(r >> 24) % 0x3000);
      } else {
        bytes += kPieces[(r >> 24) % std::size(kPieces)];
      }
    }
    // Copied to its exact size, so that a sanitizer sees a read beyond the end.
    const std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
    std::copy(bytes.begin(), bytes.end(), exact.get());
    CAPTURE(seed);
    CHECK(fuzz::run(exact.get(), bytes.size()) == 0);
  }
}
