// What a place where ops run has to offer. L3; sits on op.h only.
// Life: plan() -> allocate() -> for every weight: upload() row chunks -> run() steps. One model per back end.
// Not thread-safe: one caller at a time; a back end may use threads inside.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backend/op.h"
#include "base/parallel.h"
#include "base/result.h"

namespace nutshell {

// The extents a model is allocated for.
struct Extents {
  int64_t n_ctx = 0;        // positions in the KV cache
  int64_t max_tokens = 0;   // tokens per step at most
  int64_t max_outputs = 0;  // rows of logits per step at most
};

struct MemoryNeeds {
  uint64_t weights_bytes = 0;
  uint64_t kv_bytes = 0;
  uint64_t scratch_bytes = 0;  // activations and per-thread work space
  uint64_t total() const { return weights_bytes + kv_bytes + scratch_bytes; }
};

// One step: tokens at positions [n_past, n_past + tokens.size()); what the KV cache held from n_past on is
// overwritten, so rolling back is passing a smaller n_past.
struct Step {
  std::span<const int32_t> tokens;  // each in [0, n_vocab), 1..max_tokens of them
  int64_t n_past = 0;
  std::span<const int32_t> output_rows;  // ascending indices into tokens; may be empty (no logits)
  // Every token is computed with the bits a step of its own would give: drafts are checked so. At most
  // Backend::few_tokens() tokens.
  bool one_by_one = false;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // Exact bytes that allocate() would take. No side effects.
  virtual Result<MemoryNeeds> plan(const Graph& graph, const Extents& extents) const = 0;

  // Takes the memory; on error (out_of_memory) everything is as before. The graph is copied or kept.
  virtual Status allocate(Graph graph, const Extents& extents) = 0;

  // Rows that upload() takes at a time: every call but a weight's last brings a multiple of this.
  virtual int64_t upload_row_multiple(WeightId weight) const = 0;
  // Rows [row0, row0 + n_rows) of a weight in its file format, rows back to back. Repacks into the layout the
  // kernels read. Errors: corrupt_file when a value is not usable (never undefined behaviour).
  virtual Status upload(WeightId weight, int64_t row0, int64_t n_rows, std::span<const uint8_t> bytes) = 0;

  // The largest position <= n_past from which a step may go on: n_past itself, but for models whose state
  // (short convolutions) is not kept for every position. run() refuses others.
  virtual int64_t resume_point(int64_t n_past) const { return n_past; }
  // How many tokens a step may have that is one_by_one; 1: the model's ops have no such form.
  virtual int64_t few_tokens() const { return 1; }
  // Runs all ops. Errors: invalid_argument for a step outside the extents.
  virtual Status run(const Step& step) = 0;
  // Logits of output row i of the last run: n_vocab values, valid until the next run().
  virtual std::span<const float> logits(int64_t i) const = 0;
};

// The CPU back end; runs on the pool's threads. The pool must outlive it.
std::unique_ptr<Backend> make_cpu_backend(ThreadPool& pool);

}  // namespace nutshell
