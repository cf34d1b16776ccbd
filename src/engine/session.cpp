#include "engine/session.h"

#include <algorithm>
#include <numeric>

namespace nutshell {
namespace {

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

constexpr size_t kMaxStops = 64, kMaxStopBytes = 1024;
constexpr int64_t kMaxDraft = 16;

}  // namespace

Status Session::check(const GenerateOptions& o) const {
  if (model_.embeds()) return {ErrorCode::no_generation, {}};
  const int32_t n_vocab = static_cast<int32_t>(model_.hparams.n_vocab);
  if (o.prompt.empty()) return {ErrorCode::invalid_argument, "the prompt is empty"};
  for (int32_t id : o.prompt)
    if (id < 0 || id >= n_vocab)
      return {ErrorCode::invalid_argument,
              "token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(n_vocab)};
  if (static_cast<int64_t>(o.prompt.size()) >= model_.extents.n_ctx)
    return {ErrorCode::context_full, "the prompt has " + std::to_string(o.prompt.size()) +
                                         " tokens, the context holds " +
                                         std::to_string(model_.extents.n_ctx)};
  if (o.max_tokens < -1) return {ErrorCode::invalid_argument, "maxTokens must be -1 or at least 0"};
  if (o.draft_tokens < 0 || o.draft_tokens > kMaxDraft)
    return {ErrorCode::invalid_argument, "draftTokens must be 0 to " + std::to_string(kMaxDraft)};
  if (o.stop.size() > kMaxStops) return {ErrorCode::invalid_argument, "more than 64 stop texts"};
  for (const std::string& s : o.stop)
    if (s.empty() || s.size() > kMaxStopBytes)
      return {ErrorCode::invalid_argument, "a stop text must have 1 to 1024 bytes"};
  return {};
}

Status Session::begin(GenerateOptions options) {
  RETURN_IF_ERROR(check(options));
  ASSIGN_OR_RETURN(sampler_, make_sampler(options.sampler, static_cast<int32_t>(model_.hparams.n_vocab)));
  size_t common = 0;
  if (options.cache_prompt) {
    // The last prompt token is always computed: its logits are needed.
    const size_t most = std::min(kv_tokens_.size(), options.prompt.size() - 1);
    while (common < most && kv_tokens_[common] == options.prompt[common]) ++common;
  }
  common = static_cast<size_t>(model_.backend->resume_point(static_cast<int64_t>(common)));
  kv_tokens_.resize(common);
  history_ = options.prompt;
  stops_ = StopStrings(options.stop);
  utf8_ = Utf8Stream();
  timings_ = Timings();
  timings_.prompt_tokens = static_cast<int64_t>(options.prompt.size());
  timings_.cached_tokens = static_cast<int64_t>(common);
  options_ = std::move(options);
  running_ = true;
  return {};
}

Result<StepResult> Session::step() {
  if (!running_) return StepResult{};
  const Clock::time_point start = Clock::now();
  const bool reading = kv_tokens_.size() < options_.prompt.size();
  Result<StepResult> result = reading ? prefill() : decode();
  (reading ? timings_.prefill_ms : timings_.decode_ms) += ms_since(start);
  if (!result.ok() || result->finish != FinishReason::none) running_ = false;
  return result;
}

Result<StepResult> Session::prefill() {
  const size_t total = options_.prompt.size(), done = kv_tokens_.size();
  const size_t n = std::min(total - done, static_cast<size_t>(model_.extents.max_tokens));
  const std::span<const int32_t> chunk = std::span(options_.prompt).subspan(done, n);
  const int32_t last_row = static_cast<int32_t>(n) - 1;
  const bool last = done + n == total;
  RETURN_IF_ERROR(model_.backend->run({chunk, static_cast<int64_t>(done), {&last_row, last ? 1u : 0u}}));
  kv_tokens_.insert(kv_tokens_.end(), chunk.begin(), chunk.end());
  logits_from_ = total - 1;
  n_drafted_ = 0;
  StepResult result;
  result.kind = StepResult::Kind::prefill;
  result.done = static_cast<int64_t>(kv_tokens_.size());
  result.total = static_cast<int64_t>(total);
  return result;
}

Result<StepResult> Session::decode() {
  StepResult result;
  if (options_.max_tokens == 0) {
    finish_now(result, FinishReason::length);
    return result;
  }
  ASSIGN_OR_RETURN(const std::span<const float> logits, next_logits());
  const Sampled sampled = sampler_->sample(logits, history_, timings_.token_ids.size());
  if (sampled.id < 0)
    return Status(ErrorCode::invalid_argument, "no token can follow: the biases ban every one");
  return accept(sampled);
}

// Guesses for after history_, as many as the step, the context and the answer's length have room for.
std::vector<int32_t> Session::draft() {
  const auto n = static_cast<int64_t>(history_.size());
  int64_t most = std::min({options_.draft_tokens, model_.backend->few_tokens() - 1,
                           model_.extents.max_outputs - 1, model_.extents.n_ctx - n});
  if (options_.max_tokens > 0)
    most = std::min(most, options_.max_tokens - static_cast<int64_t>(timings_.token_ids.size()) - 1);
  if (most <= 0) return {};
  std::vector<int32_t> guesses = lookup_draft(history_, static_cast<size_t>(most));
  if (!gain_.worth(guesses.size())) guesses.clear();
  return guesses;
}

Result<std::span<const float>> Session::next_logits() {
  const size_t last = history_.size() - 1;
  if (kv_tokens_.size() > last && kv_tokens_[last] == history_[last]) {
    if (last > logits_from_) ++timings_.accepted_tokens;
    return model_.backend->logits(static_cast<int64_t>(last - logits_from_));
  }
  if (n_drafted_ > 0) gain_.checked(n_drafted_, last - logits_from_ - 1);
  kv_tokens_.resize(last);
  std::vector<int32_t> tokens = draft();
  n_drafted_ = tokens.size();
  tokens.insert(tokens.begin(), history_.back());
  std::vector<int32_t> rows(tokens.size());
  std::iota(rows.begin(), rows.end(), 0);
  const Clock::time_point start = Clock::now();
  RETURN_IF_ERROR(model_.backend->run({tokens, static_cast<int64_t>(last), rows, true}));
  n_drafted_ > 0 ? gain_.drafted(ms_since(start)) : gain_.plain(ms_since(start));
  kv_tokens_.insert(kv_tokens_.end(), tokens.begin(), tokens.end());
  logits_from_ = last;
  timings_.drafted_tokens += static_cast<int64_t>(n_drafted_);
  return model_.backend->logits(0);
}

// Ends the generation: what was held back comes out, unless a stop text ended it.
FinishReason Session::finish_now(StepResult& result, FinishReason reason) {
  if (!stops_.stopped()) {
    result.text += stops_.push(utf8_.flush());
    if (!stops_.stopped()) result.text += stops_.flush();
  }
  return result.finish = reason;
}

StepResult Session::accept(Sampled sampled) {
  StepResult result;
  if (model_.tokenizer->is_end(sampled.id) && !options_.ignore_end) {
    finish_now(result, FinishReason::stop);
    return result;
  }
  result.kind = StepResult::Kind::token;
  result.id = sampled.id;
  result.logprob = sampled.logprob;
  history_.push_back(sampled.id);
  timings_.token_ids.push_back(sampled.id);
  result.text = stops_.push(utf8_.push(model_.tokenizer->token_bytes(sampled.id, false)));
  // A control token has no text and parts the one before from the one after: nothing waits for what follows.
  if (model_.tokenizer->type(sampled.id) == TokenType::control && !stops_.stopped())
    result.text += stops_.push(utf8_.flush()) + stops_.flush();
  const auto n = static_cast<int64_t>(timings_.token_ids.size());
  if (stops_.stopped()) {
    finish_now(result, FinishReason::stop);
  } else if (n == options_.max_tokens || static_cast<int64_t>(history_.size()) > model_.extents.n_ctx) {
    finish_now(result, FinishReason::length);
  }
  return result;
}

}  // namespace nutshell
