// Loads a model whose files the caller pushes in piece by piece. L5. The loader says which bytes it wants and
// where they should go; the caller copies them there (from OPFS, a Blob, a file) and commits. No file system,
// no second copy: weights pass through one staging buffer into the layout the kernels read.
//
//   header -> (host tensors) -> memory plan and allocation -> tensor bytes -> ready
//
// A failure leaves nothing behind but the loader itself; other models are not touched.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/header_reader.h"
#include "engine/model.h"
#include "engine/weight_stream.h"
#include "model/arch/arch.h"

namespace nutshell {

struct LoadOptions {
  std::vector<ModelFile> files;
  std::string name;               // shown when the file has no name of its own
  int64_t context_size = 0;       // tokens; 0: the trained length, at most kDefaultContext
  uint64_t memory_limit = 0;      // bytes for weights, KV cache and work space; 0: only what is available
  uint64_t memory_available = 0;  // bytes the platform could give; 0: unknown
  int64_t max_outputs = 4;        // logit rows per step: a token and drafts; perplexity wants more
};

inline constexpr int64_t kDefaultContext = 4096;
inline constexpr int64_t kPrefillTokens = 128;  // tokens per step: weights are unpacked once per step

// What a model is allocated for. context_size, max_outputs: as in LoadOptions.
Extents choose_extents(const HParams& hparams, int64_t context_size, int64_t max_outputs);

class Loader {
 public:
  Loader(ThreadPool& pool, LoadOptions options);

  // What to read next; nothing when the model is ready. After an error the loader answers that error forever.
  Result<std::optional<ReadRequest>> next();
  // The bytes of the last request are in place.
  Status commit();
  // Bytes of the files taken in so far (counted once), and of all files.
  uint64_t done_bytes() const { return done_bytes_ + (stream_ ? stream_->done_bytes() : 0); }
  uint64_t total_bytes() const { return total_bytes_; }
  // The finished model; precondition: next() answered nothing.
  std::unique_ptr<Model> take() { return std::move(model_); }

 private:
  enum class Phase { header, host_tensors, weights, ready };

  Result<std::optional<ReadRequest>> request();
  ReadRequest host_request();
  Status start_model();  // after the header: architecture, tokenizer
  Status commit_host_tensor();
  Status start_weights();  // graph, memory plan, allocation

  ThreadPool& pool_;
  LoadOptions options_;
  Phase phase_ = Phase::header;
  Status failed_;
  std::vector<uint8_t> staging_;
  uint64_t requested_bytes_ = 0;
  uint64_t done_bytes_ = 0, total_bytes_ = 0;

  HeaderReader header_reader_;
  ModelHeader header_;
  const ArchDef* arch_ = nullptr;
  std::vector<std::string> host_names_;
  HostTensors host_;
  std::unique_ptr<Model> model_;
  std::optional<WeightStream> stream_;
};

}  // namespace nutshell
