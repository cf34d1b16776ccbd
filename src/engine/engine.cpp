#include "engine/engine.h"

#include <algorithm>

#include "engine/embed.h"
#include "engine/options.h"

namespace nutshell {
namespace {

using nlohmann::json;

Status no_model() { return {ErrorCode::no_model, {}}; }

json finish_json(FinishReason reason) {
  switch (reason) {
    case FinishReason::none:
      return nullptr;
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
  }
  return nullptr;
}

json token_json(const Model& model, int32_t id) {
  if (id < 0) return nullptr;
  return {{"id", id}, {"text", model.tokenizer->token_bytes(id, true)}};
}

}  // namespace

json error_json(const Status& status) {
  return {{"error",
           {{"code", error_name(status.code())},
            {"message", status.message()},
            {"advice", error_advice(status.code())}}}};
}

Engine::Reply Engine::load_begin(const json& json_options, uint64_t available_bytes) {
  ASSIGN_OR_RETURN(LoadOptions options, parse_load_options(json_options));
  options.memory_available = available_bytes;
  loader_ = std::make_unique<Loader>(pool_, std::move(options));
  return json::object();
}

Engine::Reply Engine::load_next() {
  if (!loader_) return Status(ErrorCode::invalid_argument, "no load was begun");
  auto request = loader_->next();
  if (!request.ok()) {
    loader_.reset();
    return request.status();
  }
  if (!request->has_value()) {
    if (threads_are_late()) return json{{"state", "wait"}};
    pool_.fit();
    session_.reset();
    model_ = loader_->take();
    loader_.reset();
    session_ = std::make_unique<Session>(*model_);
    ASSIGN_OR_RETURN(json model_info, info());
    return json{{"state", "ready"}, {"info", std::move(model_info)}};
  }
  const ReadRequest& read = **request;
  return json{{"state", "read"},
              {"file", read.file},
              {"offset", read.offset},
              {"length", read.length},
              {"pointer", reinterpret_cast<uintptr_t>(read.target)},
              {"doneBytes", loader_->done_bytes()},
              {"totalBytes", loader_->total_bytes()}};
}

// Whether to wait for threads that have not begun; two seconds at most, they may still join later.
bool Engine::threads_are_late() {
  using Clock = std::chrono::steady_clock;
  if (!waiting_since_) waiting_since_ = Clock::now();
  const bool late =
      pool_.n_threads() < pool_.max_threads() && Clock::now() - *waiting_since_ < std::chrono::seconds(2);
  if (!late) waiting_since_.reset();
  return late;
}

Engine::Reply Engine::load_commit() {
  if (!loader_) return Status(ErrorCode::invalid_argument, "no load was begun");
  if (Status status = loader_->commit(); !status.ok()) {
    loader_.reset();
    return status;
  }
  return json::object();
}

Engine::Reply Engine::unload() {
  loader_.reset();
  session_.reset();
  model_.reset();
  return json::object();
}

Engine::Reply Engine::info() const {
  if (!model_) return no_model();
  const Model& m = *model_;
  return json{{"model",
               {{"name", m.info.name},
                {"architecture", m.info.architecture},
                {"parameters", m.info.parameters},
                {"bytes", m.info.file_bytes},
                {"contextLength", m.info.n_ctx_train},
                {"embeddingSize", m.embeds() ? m.hparams.n_embd : 0}}},
              {"contextSize", m.extents.n_ctx},
              {"memoryBytes", m.needs.total()},
              {"threads", pool_.n_threads()},
              {"chatTemplate", m.info.chat_template ? json(*m.info.chat_template) : json(nullptr)},
              {"tokens",
               {{"bos", token_json(m, m.special.bos)},
                {"eos", token_json(m, m.special.eos)},
                {"eot", token_json(m, m.special.eot)}}},
              {"addBos", m.special.add_bos}};
}

Engine::Reply Engine::tokenize(const json& arguments) const {
  if (!model_) return no_model();
  if (!arguments.is_object() || !arguments.contains("text") || !arguments["text"].is_string())
    return Status(ErrorCode::invalid_argument, "tokenize needs {text}");
  const auto special = arguments.find("special");
  const bool parse_special = special == arguments.end() || !special->is_boolean() || special->get<bool>();
  return json{
      {"ids", model_->tokenizer->encode(arguments["text"].get_ref<const std::string&>(), parse_special)}};
}

Engine::Reply Engine::detokenize(const json& arguments) const {
  if (!model_) return no_model();
  if (!arguments.is_object() || !arguments.contains("ids"))
    return Status(ErrorCode::invalid_argument, "detokenize needs {ids}");
  ASSIGN_OR_RETURN(const GenerateOptions ids, parse_generate_options({{"ids", arguments["ids"]}}));
  Utf8Stream utf8;
  std::string text = utf8.push(model_->tokenizer->decode(ids.prompt, true));
  return json{{"text", text + utf8.flush()}};
}

Engine::Reply Engine::embed(const json& arguments) {
  if (!model_) return no_model();
  if (!arguments.is_object() || !arguments.contains("text") || !arguments["text"].is_string())
    return Status(ErrorCode::invalid_argument, "embed needs {text}");
  pool_.fit();
  ASSIGN_OR_RETURN(const TextEmbedding e,
                   embed_text(*model_, arguments["text"].get_ref<const std::string&>()));
  return json{{"embedding", e.values}, {"tokens", e.n_tokens}, {"truncated", e.truncated}};
}

Engine::Reply Engine::generate_begin(const json& json_options) {
  if (!model_) return no_model();
  ASSIGN_OR_RETURN(GenerateOptions options, parse_generate_options(json_options));
  logprobs_ = options.sampler.logprob;
  RETURN_IF_ERROR(session_->begin(std::move(options)));
  return json{{"promptTokens", session_->timings().prompt_tokens},
              {"cachedTokens", session_->timings().cached_tokens}};
}

Engine::Reply Engine::generate_step() {
  if (!model_) return no_model();
  pool_.fit();
  ASSIGN_OR_RETURN(StepResult step, session_->step());
  switch (step.kind) {
    case StepResult::Kind::prefill:
      return json{{"state", "prefill"}, {"done", step.done}, {"total", step.total}};
    case StepResult::Kind::done:
      return json{{"state", "done"}, {"text", step.text}, {"finish", finish_json(step.finish)}};
    case StepResult::Kind::token:
      break;
  }
  json reply{{"state", "token"}, {"id", step.id}, {"text", step.text}, {"finish", finish_json(step.finish)}};
  if (logprobs_) reply["logprob"] = step.logprob;
  return reply;
}

Engine::Reply Engine::generate_end() {
  if (!model_) return no_model();
  const Timings& t = session_->timings();
  return json{{"timings",
               {{"promptTokens", t.prompt_tokens},
                {"cachedTokens", t.cached_tokens},
                {"prefillMs", t.prefill_ms},
                {"tokens", t.token_ids.size()},
                {"tokenIds", t.token_ids},
                {"decodeMs", t.decode_ms},
                {"draftedTokens", t.drafted_tokens},
                {"acceptedTokens", t.accepted_tokens}}}};
}

}  // namespace nutshell
