// Damaged copies of a tiny model through the whole loader, and two steps with those that still load.
#include <doctest/doctest.h>

#define NUTSHELL_FUZZ_INCLUDED
#include "fuzz/fuzz_model.cpp"
#include "support/broken_gguf.h"
#include "support/mutate.h"
#include "support/tiny_gguf.h"

using namespace nutshell;
using namespace nutshell::test;

namespace {

GgufWriter small_model() {
  TinyShape shape;
  shape.n_layer = 1;
  shape.n_embd = 32;
  shape.n_head = 2;
  shape.n_head_kv = 1;
  shape.n_ff = 32;
  return tiny_gguf(shape);
}

}  // namespace

TEST_CASE("damaged models are refused or run, never more") {
  const Bytes whole = small_model().build();
  REQUIRE(fuzz::run_model(whole));
  const auto header = parse_gguf(whole, whole.size());
  const auto header_bytes = static_cast<size_t>((*header)->data_offset());
  const Outcomes outcomes = run_mutations(whole, 2000, header_bytes, &fuzz::run_model);
  CHECK(outcomes.accepted > 20);
  CHECK(outcomes.refused > 200);
}

TEST_CASE("weights of any bits run") {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Bytes bytes = small_model().build();
    const auto header = parse_gguf(bytes, bytes.size());
    for (size_t i = (*header)->data_offset(); i < bytes.size(); ++i)
      bytes[i] = static_cast<uint8_t>(counter_rng(seed, i));
    fuzz::run_model(bytes);
  }
}

TEST_CASE("the loader refuses every broken file") {
  for (const BrokenGguf& broken : broken_ggufs()) {
    INFO(broken.name);
    CHECK_FALSE(fuzz::run_model(broken.bytes));
  }
}
