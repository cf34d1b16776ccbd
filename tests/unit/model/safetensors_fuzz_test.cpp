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
  int parsed = 0, refused = 0;
  for (uint64_t seed = 0; seed < 20000; ++seed)
    ++(fuzz::run_safetensors(mutated(whole, seed, whole.size() - 35)) ? parsed : refused);
  CHECK(parsed > 50);
  CHECK(refused > 5000);
}

TEST_CASE("a folder with one damaged file is refused or loads, never more") {
  ThreadPool pool(1);
  int loaded = 0, refused = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::vector<TestFile> files = tiny_folder("LlamaForCausalLM", tiny_tensors("llama", DType::f32));
    TestFile& file = files[seed % files.size()];
    file.bytes = mutated(file.bytes, seed, 3000);
    const auto model = load_files(pool, files);
    if (!model.ok()) CHECK_FALSE(model.status().message().empty());
    ++(model.ok() ? loaded : refused);
  }
  CHECK(loaded > 10);
  CHECK(refused > 100);
}
