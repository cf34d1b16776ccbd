// Fuzz target of the whole way of a model file: header, architecture, tokenizer, graph, memory plan, upload,
// two steps. Any bytes are refused with a typed error or give a model that runs; nothing takes more memory
// than allowed. Built by libFuzzer with the preset "fuzz"; the unit tests run the same function over damaged
// copies of a tiny model (tests/unit/engine/model_fuzz_test.cpp).
#include <cstring>
#include <vector>

#include "engine/inspect.h"
#include "engine/loader.h"
#include "fuzz/require.h"

namespace nutshell::fuzz {

// Pushes the bytes in as the worker does.
inline Result<std::unique_ptr<Model>> load_model(ThreadPool& pool, std::span<const uint8_t> bytes) {
  LoadOptions options;
  options.files = {{"fuzz.gguf", bytes.size()}};
  options.context_size = 8;
  options.memory_limit = 64u << 20;
  Loader loader(pool, options);
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<ReadRequest> request, loader.next());
    if (!request) return loader.take();
    require(request->offset <= bytes.size() && request->length <= bytes.size() - request->offset);
    require(request->length > 0);
    std::memcpy(request->target, bytes.data() + request->offset, request->length);
    RETURN_IF_ERROR(loader.commit());
  }
}

// True when the bytes are a model that loads.
inline bool run_model(std::span<const uint8_t> bytes) {
  ThreadPool pool(1);
  if (auto header = parse_gguf(bytes, bytes.size()); header.ok() && header->has_value())
    require(inspect(header_of(std::move(**header)))["problems"].is_array());
  const auto loaded = load_model(pool, bytes);
  if (!loaded.ok()) {
    require(!loaded.status().message().empty() && loaded.status().code() != ErrorCode::internal);
    return false;
  }
  Model& model = **loaded;
  const int32_t last = static_cast<int32_t>(model.hparams.n_vocab) - 1;
  require(model.tokenizer->n_vocab() == model.hparams.n_vocab);
  const std::vector<int32_t> tokens = {0, last, last / 2};
  const std::vector<int32_t> rows = {2}, first = {0};
  require(model.backend->run({tokens, 0, rows}).ok());
  require(model.backend->run({std::span(tokens).first(1), 3, first}).ok());
  require(static_cast<int64_t>(model.backend->logits(0).size()) == model.hparams.n_vocab);
  return true;
}

}  // namespace nutshell::fuzz

#ifndef NUTSHELL_FUZZ_INCLUDED  // the unit tests call run_model()
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t n) {
  nutshell::fuzz::run_model({bytes, n});
  return 0;
}
#endif
