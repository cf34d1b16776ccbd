// A conversation with a model: takes a prompt, then gives one token per step(). L5. The caller pulls; nothing
// runs between calls, so stopping is not calling again. The KV cache is kept between generations and the
// common prefix of the old and the new prompt is not computed again.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/draft.h"
#include "engine/model.h"
#include "engine/stop_strings.h"
#include "sample/sampler.h"
#include "text/utf8_stream.h"

namespace nutshell {

struct GenerateOptions {
  std::vector<int32_t> prompt;  // token ids, at least one, fewer than the context holds
  int64_t max_tokens = -1;      // -1: until the context is full
  SamplerOptions sampler;
  std::vector<std::string> stop;  // generation ends before any of these texts
  bool ignore_end = false;        // do not stop at end-of-turn tokens
  bool cache_prompt = true;       // reuse the KV cache for a common prefix
  int64_t draft_tokens = 0;       // tokens guessed ahead (draft.h) at most, e.g. 3; 0: none
};

enum class FinishReason { none, stop, length };

struct StepResult {
  enum class Kind { prefill, token, done } kind = Kind::done;
  int64_t done = 0, total = 0;  // prefill: prompt tokens in the KV cache, of all
  int32_t id = -1;              // token
  double logprob = 0.0;         // token
  std::string text;             // text that became complete, may be empty
  FinishReason finish = FinishReason::none;
};

struct Timings {
  int64_t prompt_tokens = 0, cached_tokens = 0;
  double prefill_ms = 0.0, decode_ms = 0.0;         // decode: everything after the prompt was read
  int64_t drafted_tokens = 0, accepted_tokens = 0;  // guessed ahead, and of these right
  std::vector<int32_t> token_ids;                   // generated, without the end-of-turn token
};

class Session {
 public:
  // The model must outlive the session.
  explicit Session(Model& model) : model_(model) {}

  // Starts a generation; ends one that runs. Errors: invalid_argument, context_full, no_generation (an
  // embedding model); the KV cache stays as it was.
  Status begin(GenerateOptions options);
  // One chunk of the prompt, or one token. After the last token (finish set) every step is `done`.
  Result<StepResult> step();
  const Timings& timings() const { return timings_; }

 private:
  Status check(const GenerateOptions& options) const;
  Result<StepResult> prefill();
  Result<StepResult> decode();
  // The logits of what follows history_, computed now or in the step before as a draft that was right.
  Result<std::span<const float>> next_logits();
  std::vector<int32_t> draft();
  StepResult accept(Sampled sampled);
  FinishReason finish_now(StepResult& result, FinishReason reason);

  Model& model_;
  std::vector<int32_t> kv_tokens_;  // what the KV cache holds, by position
  GenerateOptions options_;
  std::unique_ptr<Sampler> sampler_;
  std::vector<int32_t> history_;  // prompt and generated tokens
  // The last run computed logits for kv_tokens_ from this position on; the tokens behind the first of them
  // were guessed and count only as far as history_ comes to agree.
  size_t logits_from_ = 0;
  size_t n_drafted_ = 0;
  DraftGain gain_;
  Utf8Stream utf8_;
  StopStrings stops_;
  Timings timings_;
  bool running_ = false;
};

}  // namespace nutshell
