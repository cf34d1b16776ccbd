// nutshell generate: a raw prompt in, text out, with speed and peak memory.
#include <sys/resource.h>

#include "engine/session.h"
#include "tools/commands.h"

namespace nutshell {
namespace {

uint64_t peak_memory_bytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return static_cast<uint64_t>(usage.ru_maxrss);
#else
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;  // kilobytes
#endif
}

double per_second(int64_t count, double ms) { return ms > 0 ? static_cast<double>(count) * 1e3 / ms : 0.0; }

}  // namespace

Answer run_generate(const GenerateCommand& command) {
  ThreadPool pool(command.threads > 0 ? command.threads : default_threads());
  LoadOptions load;
  load.context_size = command.context;
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, load_model_file(command.model, pool, load));

  GenerateOptions options;
  options.prompt = model->tokenizer->encode(command.prompt, true);
  if (model->special.add_bos && (options.prompt.empty() || options.prompt[0] != model->special.bos))
    options.prompt.insert(options.prompt.begin(), model->special.bos);
  options.max_tokens = command.max_tokens;
  options.draft_tokens = command.draft;
  options.sampler.temperature = command.temperature;
  options.sampler.seed = command.seed;
  const std::vector<int32_t> prompt = options.prompt;

  Session session(*model);
  RETURN_IF_ERROR(session.begin(std::move(options)));
  std::string text;
  FinishReason finish = FinishReason::none;
  while (finish == FinishReason::none) {
    pool.fit();
    ASSIGN_OR_RETURN(const StepResult step, session.step());
    text += step.text;
    finish = step.finish;
  }
  const Timings& t = session.timings();
  // The first token comes from the prompt's own forward pass: n tokens take n - 1 decode steps.
  const int64_t decode_steps = std::max<int64_t>(0, static_cast<int64_t>(t.token_ids.size()) - 1);
  return nlohmann::json{
      {"prompt_tokens", prompt},
      {"tokens", t.token_ids},
      {"text", text},
      {"finish_reason", finish == FinishReason::stop ? "stop" : "length"},
      {"prefill_tokens_per_second", per_second(t.prompt_tokens - t.cached_tokens, t.prefill_ms)},
      {"decode_tokens_per_second", per_second(decode_steps, t.decode_ms)},
      {"drafted_tokens", t.drafted_tokens},
      {"accepted_tokens", t.accepted_tokens},
      {"peak_memory_bytes", peak_memory_bytes()}};
}

}  // namespace nutshell
