// The real SmolLM2 against llama.cpp (tests/golden/logits/smollm2.json).
#include <doctest/doctest.h>

#include "support/forced_decoding.h"
#include "support/golden.h"
#include "support/model_file.h"

using namespace nutshell;

TEST_CASE("SmolLM2 follows llama.cpp on eight prompts") {
  ThreadPool pool(2);
  LoadOptions options;
  options.context_size = 1024;
  const auto model = test::load_model(test::path_from_environment("NUTSHELL_MODEL_SMOLLM2"), pool, options);
  test::follow_llama_cpp(*model, test::read_golden("logits/smollm2.json"));
}
