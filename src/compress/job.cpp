#include "compress/job.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "compress/heal.h"
#include "compress/items.h"
#include "compress/texts.h"
#include "engine/memory_plan.h"

namespace nutshell::compress {

namespace {

constexpr int64_t kTextTokens = 64;  // of a text that is embedded

// An embedding model reads short texts: as many more.
CompressOptions options_for(const SourceModel& source, CompressOptions options) {
  if (source.hparams.pooling == Pooling::none || options.window_tokens <= kTextTokens) return options;
  options.windows *= options.window_tokens / kTextTokens;
  options.held_out *= options.window_tokens / kTextTokens;
  options.window_tokens = kTextTokens;
  return options;
}

}  // namespace

CompressJob::CompressJob(SourceModel& source, const CompressOptions& options,
                         std::span<const int32_t> calibration, std::span<const int32_t> evaluation,
                         ThreadPool& pool, KeptBytes kept)
    : source_(source),
      options_(options_for(source, options)),
      calibration_(calibration),
      evaluation_(evaluation),
      pool_(pool),
      kept_(std::move(kept)),
      coding_{options.seed, options.most_moments, {options.damp_inputs, options.damp_outputs}, 0, kept_} {
  fix_cache_sizes();
  std::span<const int32_t> prefix, suffix;
  if (source.hparams.pooling != Pooling::none) {
    prefix = source.tokenizer->prefix();
    suffix = source.tokenizer->suffix();
  } else if (source.special.add_bos && source.special.bos >= 0) {
    prefix = {&source.special.bos, 1};
  }
  if (prefix.empty() && suffix.empty()) return;
  framed_[0] = frame_windows(calibration, window_tokens(), prefix, suffix);
  framed_[1] = frame_windows(evaluation, window_tokens(), prefix, suffix);
  calibration_ = framed_[0];
  evaluation_ = framed_[1];
}

Result<CompressJob::Windows> CompressJob::windows_of(std::span<const int32_t> tokens, int64_t n,
                                                     const char* what) const {
  const auto length = static_cast<size_t>(window_tokens());
  if (tokens.size() < length)
    return Status(ErrorCode::invalid_argument, std::string("the ") + what + " text has " +
                                                   std::to_string(tokens.size()) + " tokens, at least " +
                                                   std::to_string(length) + " are needed");
  return spread_windows(tokens, static_cast<int64_t>(length), n);
}

// Brings the windows of the gradients, which lie all over the text, to the front; answers how many.
size_t CompressJob::take_evenly(Windows& texts) const {
  const size_t n = std::min(texts.size(), static_cast<size_t>(options_.windows));
  Windows taken, others;
  for (size_t i = 0, next = 0; i < texts.size(); ++i) {
    const bool take = next < n && i == next * texts.size() / n;
    next += take;
    (take ? taken : others).push_back(texts[i]);
  }
  texts = std::move(taken);
  texts.insert(texts.end(), others.begin(), others.end());
  return n;
}

Status CompressJob::check() {
  if (options_.data_free && options_.heal_minutes > 0)
    return {ErrorCode::invalid_argument, "healing needs calibration texts; without data there are none"};
  if (options_.data_free && options_.max_kl > 0)
    return {ErrorCode::invalid_argument,
            "a KL divergence is asked for; without data the model is not run, so none can be measured"};
  if (source_.hparams.pooling != Pooling::none && (options_.heal_minutes > 0 || options_.max_kl > 0))
    return {ErrorCode::invalid_argument,
            "the model embeds texts: it has no probabilities, which healing and a KL divergence need"};
  if (!options_.data_free && !source_.measurable.ok())
    return {source_.measurable.code(),
            source_.measurable.message() + "; without data (--data-free) it can be compressed"};
  if (!options_.data_free) {
    ASSIGN_OR_RETURN(texts_, windows_of(calibration_, kInputWindows * options_.windows, "calibration"));
    const size_t n = take_evenly(texts_);
    windows_.assign(texts_.begin(), texts_.begin() + static_cast<std::ptrdiff_t>(n));
    if (options_.held_out > 0) {
      ASSIGN_OR_RETURN(held_out_, windows_of(evaluation_, options_.held_out, "evaluation"));
    }
  }
  if (options_.max_kl > 0 && held_out_.empty())
    return {ErrorCode::invalid_argument, "a KL divergence is asked for, but no text to measure it on"};
  const uint64_t needed = memory().total();
  if (options_.memory_limit > 0 && needed > options_.memory_limit)
    return {ErrorCode::out_of_memory, "compressing this model takes " + format_bytes(needed) +
                                          " of memory; available: " + format_bytes(options_.memory_limit)};
  return {};
}

MemoryPlan CompressJob::memory() const {
  return plan_memory(source_.graph, options_, static_cast<int64_t>(texts_.size()));
}

Steps CompressJob::analyse() {
  if (analysed_) co_return Status();
  targets_ = choose_targets(source_.graph);
  analysis_ = no_analysis(source_.graph, targets_);
  mark_ = 0;
  if (kept_) RUN_STEPS(mark_source(source_, mark_));  // reads all of it
  mark_ = mark_analysis(mark_, options_, calibration_);
  RUN_STEPS(recall_analysis());
  if (const auto& e = analysis_.errors;
      std::any_of(e.begin(), e.end(), [](auto& rows) { return rows.empty(); }))
    RUN_STEPS(measure());
  analysed_ = true;
  RUN_STEPS(drop_inputs());
  co_return Status();
}

Steps CompressJob::recall_analysis() {
  std::vector<uint8_t> bytes(kept_ ? kept_(std::string(kAnalysisEntry)) : 0);
  if (bytes.empty()) co_return Status();
  co_yield recall_into(kAnalysisEntry, bytes);
  (void)thaw(bytes, mark_, source_.graph, targets_, n_windows(), analysis_);
  co_return Status();
}

// Those of gradients, or all, that analysis_ lacks; what is not there stays as it is.
Steps CompressJob::recall_moments(bool inputs) {
  std::vector<uint8_t> bytes;
  if (!kept_) co_return Status();
  for (const GatheredOf& of : all_gathered(analysis_.statistics)) {
    if ((!inputs && !of.outputs) || is_gathered(of)) continue;
    const std::string name = moments_entry(source_.graph, of);
    const int64_t n = moments_width(of);
    bytes.resize(moments_bytes(n, options_.most_moments));
    if (kept_(name) != bytes.size()) continue;
    co_yield recall_into(name, bytes);
    (void)thaw(bytes, mark_, n, options_.most_moments, n_windows(), of.in(analysis_.statistics));
  }
  co_return Status();
}

bool CompressJob::is_gathered(const GatheredOf& of) const {
  return of.in(analysis_.statistics).windows == n_windows();
}

int64_t CompressJob::moments_width(const GatheredOf& of) const {
  const WeightSpec& w = source_.graph.weights[static_cast<size_t>(of.weight)];
  return of.outputs ? w.n_rows : w.n_cols;
}

// Goes on from what analysis_ has.
Steps CompressJob::measure() {
  kept_at_ = Clock::now();
  if (!options_.data_free) {
    if (source_.weights.empty()) RUN_STEPS(read_weights(source_));
    RUN_STEPS(recall_moments(true));
    Steps gathering = gather_statistics(source_.graph, source_.weights, windows_, source_.hparams.pooling,
                                        {options_.seed, options_.most_moments}, pool_, analysis_.statistics);
    bool all_kept = true;
    while (gathering.next()) {
      co_yield gathering.step();
      all_kept = is_time_to_keep();
      if (all_kept) RUN_STEPS(keep_measuring());
    }
    CO_RETURN_IF_ERROR(gathering.status());
    if (!all_kept) RUN_STEPS(keep_measuring());
  }
  RUN_STEPS(measure_errors());
  for (Gathered& inputs : analysis_.statistics.inputs) inputs = {};
  RUN_STEPS(keep_analysis());
  co_return Status();
}

Steps CompressJob::measure_errors() {
  const auto at_once = options_.data_free ? size_t{1} : static_cast<size_t>(pool_.max_threads());
  std::vector<size_t> left;
  for (size_t i = 0; i < targets_.size(); ++i)
    if (analysis_.errors[i].empty()) left.push_back(i);
  for (size_t first = 0; first < left.size(); first += at_once) {
    const size_t end = std::min(left.size(), first + at_once);
    if (options_.data_free) {
      const Target& t = targets_[left[first]];
      std::vector<int32_t> rows(static_cast<size_t>(t.n_rows));
      std::iota(rows.begin(), rows.end(), 0);
      Matrix values;
      RUN_STEPS(read_weight_rows(source_, t.weight, std::move(rows), values));
      analysis_.errors[left[first]] = even_errors(t, values);
    } else {
      for_items(pool_, static_cast<int64_t>(end - first), [&](int64_t i) {
        const size_t target = left[first + static_cast<size_t>(i)];
        const Target& t = targets_[target];
        analysis_.errors[target] = row_errors(t, source_.weights[static_cast<size_t>(t.weight)],
                                              analysis_.statistics, coding_.damping);
      });
    }
    co_yield worked(Stage::weighing, static_cast<int64_t>(targets_.size() - left.size() + end),
                    static_cast<int64_t>(targets_.size()));
    if (is_time_to_keep()) RUN_STEPS(keep_analysis());
  }
  co_return Status();
}

// Keeping takes a tenth of the time at most (or, where storage is very slow, keep_seconds of every ten).
bool CompressJob::is_time_to_keep() const {
  const std::chrono::duration<double> since = Clock::now() - kept_at_;
  return since.count() >= options_.keep_seconds && since >= 9 * keeping_took_;
}

// An entry at a time, each with its number of windows: it may end between any two.
Steps CompressJob::keep_measuring() {
  if (!kept_) co_return Status();
  const Clock::time_point start = Clock::now();
  for (const GatheredOf& of : all_gathered(analysis_.statistics)) {
    const std::string name = moments_entry(source_.graph, of);
    const std::vector<uint8_t> bytes = freeze(mark_, of.in(analysis_.statistics));
    co_yield keep_bytes(name, bytes);
  }
  RUN_STEPS(keep_analysis());
  // It may have been paused meanwhile.
  keeping_took_ = std::min(std::chrono::duration<double>(kept_at_ - start),
                           std::chrono::duration<double>(options_.keep_seconds));
  co_return Status();
}

Steps CompressJob::keep_analysis() {
  if (!kept_) co_return Status();
  const std::vector<uint8_t> bytes = freeze(mark_, analysis_);
  co_yield keep_bytes(kAnalysisEntry, bytes);
  kept_at_ = Clock::now();
  co_return Status();
}

Steps CompressJob::drop_inputs() {
  for (const GatheredOf& of : all_gathered(analysis_.statistics)) {
    const std::string name = moments_entry(source_.graph, of);
    if (!of.outputs && kept_ && kept_(name) > 0) co_yield drop_bytes(name);
  }
  co_return Status();
}

Steps CompressJob::drop_rows() {
  for (const Target& t : targets_) {
    const std::string name = rows_entry(t.name);
    if (kept_ && kept_(name) > 0) co_yield drop_bytes(name);
  }
  co_return Status();
}

// All that coding needs is in memory.
Steps CompressJob::prepare() {
  if (options_.data_free) co_return Status();
  if (source_.weights.empty()) RUN_STEPS(read_weights(source_));
  RUN_STEPS(recall_moments(false));
  const std::vector<GatheredOf> all = all_gathered(analysis_.statistics);
  if (std::any_of(all.begin(), all.end(), [&](auto& of) { return of.outputs && !is_gathered(of); })) {
    RUN_STEPS(measure());  // damaged
    RUN_STEPS(drop_inputs());
  }
  co_return Status();
}

// Codes the targets for a size, heals, and measures.
Steps CompressJob::code(uint64_t bytes) {
  report_ = {};
  targets_ = choose_targets(source_.graph);
  CO_RETURN_IF_ERROR(share(bytes, targets_, report_.predicted_kl));
  report_sizes(bytes);
  coding_.mark = mark_size(mark_, bytes);
  if (options_.data_free) {
    RUN_STEPS(code_without_data(source_, coding_, pool_, targets_));
    co_return Status();
  }
  after_ = source_.weights;
  RUN_STEPS(code_targets(source_, analysis_.statistics, coding_, texts_, pool_, targets_, after_));
  if (const int64_t steps = heal_steps(source_, options_.heal_minutes); steps > 0)
    RUN_STEPS(heal(source_, texts_, steps, pool_, targets_, after_));
  if (held_out_.empty()) co_return Status();
  std::vector<bool> coded(source_.graph.weights.size(), false);
  for (const Target& t : targets_) coded[static_cast<size_t>(t.weight)] = true;
  RUN_STEPS(compare(source_.graph, source_.weights, after_, coded, options_.seed, held_out_,
                    source_.hparams.pooling, pool_, report_.quality));
  co_return Status();
}

Steps CompressJob::write() {
  const std::map<std::string, const Matrix*> changed = changed_vectors();
  const CodedFile file(source_, targets_, options_.seed, provenance(), changed);
  RUN_STEPS(file.write());
  if (const std::vector<uint8_t> rest(report_.bytes - file.bytes(), 0); !rest.empty())
    co_yield write_bytes(rest);
  RUN_STEPS(drop_rows());
  after_ = {};
  co_return Status();
}

Steps CompressJob::make(uint64_t bytes) {
  RUN_STEPS(prepare());
  RUN_STEPS(code(bytes));
  RUN_STEPS(write());
  co_return Status();
}

struct CompressJob::Try {
  CompressReport report;
  std::vector<Target> targets;
  std::vector<Matrix> after;
};

// What is measured is near what is predicted, by a share that changes slowly with the size: each try corrects
// it. The smallest file that stays below the limit is the one.
Steps CompressJob::make_below(double max_kl) {
  constexpr int kTries = 5;
  constexpr double kNearEnough = 0.93;
  double share = 1.0;
  int failed = 0;  // tries that came out above: the next ones aim lower
  std::optional<Try> best;
  RUN_STEPS(prepare());
  for (int i = 0; i < kTries; ++i) {
    const double aim = 0.98 * std::pow(0.93, failed) * max_kl;
    RUN_STEPS(code(bytes_for(aim / share)));
    const double kl = report_.quality.mean_kl;
    share = kl / std::max(report_.predicted_kl, 1e-12);
    const bool below = kl <= max_kl;
    failed += !below;
    if (below && (!best || report_.bytes < best->report.bytes)) best = Try{report_, targets_, after_};
    if (!below && at_most_bits(targets_))
      co_return Status(ErrorCode::invalid_argument, "a KL divergence of " + std::to_string(max_kl) +
                                                        " cannot be reached; the least for this model is " +
                                                        std::to_string(kl) + ", with " +
                                                        std::to_string(report_.bytes) + " bytes");
    if (below && kl >= kNearEnough * max_kl) break;
  }
  if (!best)
    co_return Status(ErrorCode::invalid_argument, "no size was found in " + std::to_string(kTries) +
                                                      " tries whose KL divergence is below " +
                                                      std::to_string(max_kl) + "; the nearest has " +
                                                      std::to_string(report_.bytes) + " bytes and " +
                                                      std::to_string(report_.quality.mean_kl));
  report_ = best->report;
  targets_ = std::move(best->targets);
  after_ = std::move(best->after);
  RUN_STEPS(write());
  co_return Status();
}

}  // namespace nutshell::compress
