// Runs the fuzz target of the GGUF reader over all known broken files and deterministic mutations of them and
// of a valid one: what a libFuzzer run does for hours, for a second in every build.
#include <doctest/doctest.h>

#include <memory>

#include "fuzz/fuzz_gguf.cpp"
#include "support/broken_gguf.h"
#include "support/mutate.h"

using namespace nutshell;
using namespace nutshell::test;

namespace {

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
