// The engine as the outside sees it: one model, one conversation, JSON in and out. L5. bind/ hands these
// calls to JavaScript unchanged; tests call them natively. Not thread-safe: one caller.
#pragma once

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/parallel.h"
#include "engine/loader.h"
#include "engine/session.h"

namespace nutshell {

// {"error":{"code","message","advice"}}
nlohmann::json error_json(const Status& status);

class Engine {
 public:
  using Reply = Result<nlohmann::json>;

  // n_threads at most: as many as there are cores for. Start::later: load_next() waits for threads that have
  // not begun, while bytes come in.
  explicit Engine(int n_threads, ThreadPool::Start start = ThreadPool::Start::wait)
      : pool_(n_threads, start) {}

  // options: {files [{name, bytes}], contextSize?, memoryLimit?, name?}. A model that is loaded stays until
  // the new one is ready; a failed load leaves it as it was. available_bytes: what the platform can still
  // give, 0 unknown.
  Reply load_begin(const nlohmann::json& options, uint64_t available_bytes);
  // {state:"read", file, offset, length, pointer, doneBytes, totalBytes}: put those bytes of files[file] at
  // the address `pointer`, then load_commit(). Or {state:"wait"}: call again in some milliseconds, when
  // threads have begun. Or {state:"ready", info}.
  Reply load_next();
  Reply load_commit();
  Reply unload();
  // {model:{name, architecture, parameters, bytes, contextLength, embeddingSize}, contextSize, memoryBytes,
  // threads,
  //  chatTemplate, tokens:{bos, eos, eot: {id, text} or null}, addBos}; embeddingSize: 0 for language models
  Reply info() const;
  Reply tokenize(const nlohmann::json& arguments) const;    // {text, special?} -> {ids}
  Reply detokenize(const nlohmann::json& arguments) const;  // {ids} -> {text}
  Reply embed(const nlohmann::json& arguments);             // {text} -> {embedding, tokens, truncated}
  Reply generate_begin(const nlohmann::json& options);      // options.def and {ids, stop, logitBias} ->
                                                            // {promptTokens, cachedTokens}
  // {state:"prefill", done, total} | {state:"token", id, text, logprob?, finish} | {state:"done", text,
  // finish}
  Reply generate_step();
  Reply generate_end();  // {timings}; the KV cache is kept for the next call

 private:
  bool threads_are_late();

  ThreadPool pool_;
  std::optional<std::chrono::steady_clock::time_point> waiting_since_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Session> session_;
  bool logprobs_ = false;
};

}  // namespace nutshell
