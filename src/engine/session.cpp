#include "engine/session.h"

#include <algorithm>

namespace nutshell {
namespace {

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

constexpr size_t kMaxStops = 64, kMaxStopBytes = 1024;

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
  if (kv_tokens_.size() < history_.size()) {  // the token given last is not computed yet
    const int32_t row = 0;
    RETURN_IF_ERROR(
        model_.backend->run({{&history_.back(), 1}, static_cast<int64_t>(kv_tokens_.size()), {&row, 1}}));
    kv_tokens_.push_back(history_.back());
  }
  const Sampled sampled = sampler_->sample(model_.backend->logits(0), history_, timings_.token_ids.size());
  if (sampled.id < 0)
    return Status(ErrorCode::invalid_argument, "no token can follow: the biases ban every one");
  return accept(sampled);
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
