// nutshell perplexity: quality of a model on a text, alone or against a reference model.
#include "compress/texts.h"
#include "engine/quality.h"
#include "tools/commands.h"

namespace nutshell {
Answer run_perplexity(const PerplexityCommand& command) {
  ASSIGN_OR_RETURN(const std::string text, read_text_file(command.file));
  ThreadPool pool(command.threads > 0 ? command.threads : default_threads());
  LoadOptions load;
  load.context_size = command.context;
  load.max_outputs = kPrefillTokens;
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, load_model_file(command.model, pool, load));
  std::unique_ptr<Model> reference;
  if (!command.reference.empty()) {
    ASSIGN_OR_RETURN(reference, load_model_file(command.reference, pool, load));
  }
  std::vector<int32_t> tokens = model->tokenizer->encode(text, false);
  if (reference && reference->tokenizer->encode(text, false) != tokens)
    return Status(ErrorCode::invalid_argument,
                  "the reference splits the text into other tokens than the model");
  if (const int32_t& bos = model->special.bos; model->special.add_bos && bos >= 0)  // before every window
    tokens = compress::frame_windows(tokens, command.context, {&bos, 1}, {});
  if (command.tokens > 0 && tokens.size() > static_cast<size_t>(command.tokens))
    tokens.resize(static_cast<size_t>(command.tokens));
  const auto progress = [line = ProgressLine()](int64_t done, int64_t of) {
    line("measuring", static_cast<double>(done) / static_cast<double>(of));
  };
  ASSIGN_OR_RETURN(const QualityReport report,
                   measure_quality(*model, reference.get(), tokens, command.context, pool, progress));
  nlohmann::json answer{{"perplexity", report.perplexity}, {"scored", report.scored}};
  if (reference) {
    answer["mean_kl"] = report.mean_kl;
    answer["top1_agreement"] = report.top1_agreement;
  }
  return answer;
}

}  // namespace nutshell
