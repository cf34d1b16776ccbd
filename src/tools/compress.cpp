// nutshell compress: a smaller model out of a model and texts.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "compress/pipeline.h"
#include "compress/prune_vocabulary.h"
#include "compress/texts.h"
#include "engine/tokenizer_data.h"
#include "tools/atomic_file.h"
#include "tools/checkpoint.h"
#include "tools/commands.h"

namespace nutshell {
namespace {

using namespace nutshell::compress;
using Ids = std::vector<int32_t>;

Result<Ids> read_ids(const Tokenizer& tokenizer, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, read_text_file(path));
  return encode_calibration(tokenizer, path, text);
}

struct Texts {
  std::vector<std::string> calibration, evaluation;
  bool split = false;  // the last eighth of every calibration text is kept for the evaluation
};

// The texts of the command line, or those scripts/calibration made.
Result<Texts> choose_texts(const CompressCommand& c) {
  Texts texts{c.calibration, c.evaluation, c.evaluation.empty()};
  if (!c.calibration.empty() || c.data_free) return texts;
  const char* folder = std::getenv("NUTSHELL_CALIBRATION");
  if (folder == nullptr)
    return Status(ErrorCode::invalid_argument,
                  "no --calibration texts, and NUTSHELL_CALIBRATION does not name the folder that "
                  "scripts/calibration prints; scripts/nutshell compress does both");
  const std::string at = std::string(folder) + "/";
  texts.calibration = {at + "calibration.txt", at + "calibration.jsonl"};
  if (c.evaluation.empty()) texts.evaluation = {at + "evaluation.txt", at + "evaluation.jsonl"};
  texts.split = false;
  return texts;
}

Status read_texts(const Texts& texts, const Tokenizer& tokenizer, Ids& calibration, Ids& evaluation) {
  for (const std::string& path : texts.calibration) {
    ASSIGN_OR_RETURN(const Ids ids, read_ids(tokenizer, path));
    const auto cut = static_cast<std::ptrdiff_t>(texts.split ? ids.size() - ids.size() / 8 : ids.size());
    calibration.insert(calibration.end(), ids.begin(), ids.begin() + cut);
    evaluation.insert(evaluation.end(), ids.begin() + cut, ids.end());
  }
  for (const std::string& path : texts.evaluation) {
    ASSIGN_OR_RETURN(const Ids ids, read_ids(tokenizer, path));
    evaluation.insert(evaluation.end(), ids.begin(), ids.end());
  }
  return {};
}

// The model with the tokens of a text only, and what that alone costs, measured on the evaluation texts.
Result<ModelHeader> prune(const CompressCommand& c, const Texts& texts, const ReadModel& read,
                          ThreadPool& pool, nlohmann::json& told) {
  ASSIGN_OR_RETURN(ModelHeader header, read_model_header(c.model));
  ASSIGN_OR_RETURN(SourceModel whole, open_source(std::move(header), read));
  if (!c.data_free) RETURN_IF_ERROR(whole.measurable);
  RETURN_IF_ERROR(run_to_end(read_weights(whole), {read, {}, {}, nullptr}));
  ASSIGN_OR_RETURN(const Ids used, read_ids(*whole.tokenizer, c.vocabulary));
  ASSIGN_OR_RETURN(const TokenizerData data, read_tokenizer_data(whole.header.metadata));
  ASSIGN_OR_RETURN(const Ids kept, tokens_to_keep(data, used));
  Ids unused, evaluation;
  RETURN_IF_ERROR(read_texts(texts, *whole.tokenizer, unused, evaluation));
  const int64_t length = std::min(CompressOptions().window_tokens, whole.hparams.n_ctx_train);
  told = {{"tokens_before", data.tokens.size()},
          {"tokens_after", kept.size()},
          {"evaluation_tokens_before", evaluation.size()},
          {"removed_probability", nullptr}};
  if (c.held_out > 0 && !evaluation.empty() && whole.hparams.pooling == Pooling::none &&
      whole.measurable.ok())
    told["removed_probability"] =
        removed_probability(whole, kept, spread_windows(evaluation, length, c.held_out), pool);
  ASSIGN_OR_RETURN(header, read_model_header(c.model));
  return prune_vocabulary(std::move(header), kept);
}

// Bytes that could be had without swapping; 0: not known.
uint64_t available_memory() {
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("MemAvailable:")) return std::strtoull(line.c_str() + 13, nullptr, 10) * 1024;
  return 0;
}

CompressOptions options_of(const CompressCommand& c) {
  CompressOptions options;
  options.size_bytes = c.size;
  options.bits = c.bits;
  options.max_kl = c.max_kl;
  options.data_free = c.data_free;
  options.seed = c.seed;
  options.windows = c.windows;
  options.held_out = c.held_out;
  options.heal_minutes = c.heal;
  options.memory_limit = available_memory();
  if (c.damp_inputs > 0) options.damp_inputs = c.damp_inputs;
  if (c.damp_outputs > 0) options.damp_outputs = c.damp_outputs;
  return options;
}

}  // namespace

Answer run_compress(const CompressCommand& c) {
  const auto start = std::chrono::steady_clock::now();
  ThreadPool pool(c.threads > 0 ? c.threads : default_threads());
  AtomicFile out(c.output);
  RETURN_IF_ERROR(out.opened());
  RETURN_IF_ERROR(out.check_room(c.size));
  ASSIGN_OR_RETURN(const Texts texts, choose_texts(c));
  ASSIGN_OR_RETURN(ModelHeader header, read_model_header(c.model));
  ASSIGN_OR_RETURN(const ReadModel read, open_model(c.model));
  nlohmann::json vocabulary;
  if (c.vocabulary != "keep") {
    ASSIGN_OR_RETURN(header, prune(c, texts, read, pool, vocabulary));
  }
  ASSIGN_OR_RETURN(SourceModel source, open_source(std::move(header), read));
  Ids calibration, evaluation;
  RETURN_IF_ERROR(read_texts(texts, *source.tokenizer, calibration, evaluation));
  const CompressOptions options = options_of(c);
  const auto have = static_cast<int64_t>(calibration.size()) / options.window_tokens;
  const int64_t windows = options.data_free ? 0 : std::min(have, kInputWindows * options.windows);
  std::fprintf(stderr, "memory: up to %.2f GB\n",
               1e-9 * static_cast<double>(plan_memory(source.graph, options, windows).total()));
  FolderCheckpoint state(c.state.empty() ? c.output + ".state" : c.state);  // stays when the run ends early
  if (!c.state.empty()) RETURN_IF_ERROR(state.lock());
  ASSIGN_OR_RETURN(const CompressReport report,
                   compress::compress(source, options, calibration, evaluation, pool,
                                      {read, [&](std::span<const uint8_t> bytes) { return out.write(bytes); },
                                       ProgressLine(), &state}));
  RETURN_IF_ERROR(out.finish());
  if (c.state.empty()) state.remove();
  const bool embeds = source.hparams.pooling != Pooling::none;
  const auto measured = [&](double value, bool has) {
    return report.quality.scored > 0 && has ? nlohmann::json(value) : nlohmann::json();
  };
  nlohmann::json answer{
      {"bytes", report.bytes},
      {"bits_per_weight", report.bits_per_weight},
      {"perplexity_before", measured(report.quality.perplexity_before, !embeds)},
      {"perplexity_after", measured(report.quality.perplexity_after, !embeds)},
      {"mean_kl", measured(report.quality.mean_kl, !embeds)},
      {"top1_agreement", measured(report.quality.top1_agreement, !embeds)},
      {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()}};
  if (embeds) answer["mean_cosine"] = measured(report.quality.mean_cosine, true);
  if (!vocabulary.is_null()) {
    vocabulary["evaluation_tokens_after"] = evaluation.size();
    answer["vocabulary"] = std::move(vocabulary);
  }
  return answer;
}

}  // namespace nutshell
