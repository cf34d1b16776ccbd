// Damaged safetensors headers, and damaged files of a whole folder.
#include <doctest/doctest.h>

#define NUTSHELL_FUZZ_INCLUDED
#include "fuzz/fuzz_safetensors.cpp"
#include "support/mutate.h"
#include "support/tiny_folder.h"

using namespace nutshell;
using namespace nutshell::test;

TEST_CASE("damaged safetensors headers are refused or whole, never more") {
  const Bytes whole = safetensors(
      {{"a", "F32", {2, 3}, Bytes(24, 1)}, {"b", "BF16", {4}, Bytes(8, 2)}, {"c", "F99", {}, Bytes(3, 3)}});
  REQUIRE(fuzz::run_safetensors(whole));
  const Outcomes outcomes = run_mutations(whole, 20000, whole.size() - 35, &fuzz::run_safetensors);
  CHECK(outcomes.accepted > 50);
  CHECK(outcomes.refused > 5000);
}

TEST_CASE("a folder with one damaged file is refused or loads, never more") {
  ThreadPool pool(1);
  Outcomes outcomes;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::vector<TestFile> files = tiny_folder("LlamaForCausalLM", tiny_tensors("llama", DType::f32));
    TestFile& file = files[seed % files.size()];
    file.bytes = mutated(file.bytes, seed, 3000);
    const auto model = load_files(pool, files);
    if (!model.ok()) CHECK_FALSE(model.status().message().empty());
    ++(model.ok() ? outcomes.accepted : outcomes.refused);
  }
  CHECK(outcomes.accepted > 10);
  CHECK(outcomes.refused > 100);
}
