// Runs the fuzz target of the GGUF reader over all known broken files and deterministic mutations of them and
// of a valid one: what a libFuzzer run does for hours, for a second in every build.
#include <doctest/doctest.h>

#include <array>
#include <memory>

#include "base/rng.h"
#include "fuzz/fuzz_gguf.cpp"
#include "support/broken_gguf.h"

using namespace nutshell;
using namespace nutshell::test;

namespace {

// One to four small changes: a bit, a byte, a 32- or 64-bit word of a telling value, a cut, a doubled piece.
Bytes mutated(Bytes bytes, uint64_t seed) {
  constexpr std::array<uint64_t, 10> kTelling = {0,          1,          8,          13,         0x7fffffff,
                                                 0xffffffff, 1ull << 32, 1ull << 40, 1ull << 63, ~0ull};
  uint64_t index = 0;
  const auto random = [&](uint64_t below) { return counter_rng(seed, index++) % below; };
  const uint64_t changes = 1 + random(4);
  for (uint64_t i = 0; i < changes && !bytes.empty(); ++i) {
    const size_t at = random(bytes.size());
    const uint64_t word = kTelling[random(kTelling.size())];
    const size_t room = bytes.size() - at;
    switch (random(6)) {
      case 0:
        bytes[at] ^= static_cast<uint8_t>(1u << random(8));
        break;
      case 1:
        bytes[at] = static_cast<uint8_t>(random(256));
        break;
      case 2:
        std::memcpy(&bytes[at], &word, std::min<size_t>(4, room));
        break;
      case 3:
        std::memcpy(&bytes[at], &word, std::min<size_t>(8, room));
        break;
      case 4:
        bytes.resize(at);
        break;
      case 5: {
        const Bytes piece(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                          bytes.begin() + static_cast<std::ptrdiff_t>(at + random(room) + 1));
        bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), piece.begin(), piece.end());
        break;
      }
    }
  }
  return bytes;
}

void run(const Bytes& bytes) {
  // Copied to its exact size, so that a sanitizer sees a read beyond the end.
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  LLVMFuzzerTestOneInput(exact.get(), bytes.size());
}

}  // namespace

TEST_CASE("the GGUF fuzz target holds on all broken files and on mutations") {
  std::vector<BrokenGguf> seeds = broken_ggufs();
  seeds.push_back({"valid", small_gguf().build(), ErrorCode::ok});
  uint64_t runs = 0;
  for (const BrokenGguf& seed : seeds) {
    run(seed.bytes);
    const uint64_t rounds = seed.code == ErrorCode::ok ? 20000 : seed.bytes.size() < 10000 ? 10 : 2;
    for (uint64_t i = 0; i < rounds; ++i, ++runs) run(mutated(seed.bytes, fnv1a(seed.name) + i));
  }
  CHECK(runs > 30000);
}
