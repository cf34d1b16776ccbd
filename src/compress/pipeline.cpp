#include "compress/pipeline.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "compress/coded_file.h"
#include "compress/coding.h"
#include "compress/heal.h"
#include "compress/memory.h"

namespace nutshell::compress {
namespace {

class Compression {
 public:
  Compression(const SourceModel& source, const CompressOptions& options, ThreadPool& pool,
              const Progress& progress, Checkpoint* checkpoint)
      : source_(source),
        options_(options),
        damping_{options.damp_inputs, options.damp_outputs},
        pool_(pool),
        progress_(progress),
        checkpoint_(checkpoint) {}

  Result<CompressReport> run(std::span<const int32_t> calibration, std::span<const int32_t> evaluation,
                             const WriteBytes& write);

 private:
  using Windows = std::vector<std::span<const int32_t>>;
  Result<Windows> windows_of(std::span<const int32_t> tokens, int64_t n, const char* what) const;
  size_t take_evenly(Windows& texts) const;
  Status allocate();
  Status calibrate(const Windows& windows, std::span<const int32_t> calibration);
  void report_sizes();
  Provenance provenance() const;
  std::map<std::string, const Matrix*> changed_vectors() const;
  uint64_t file_bytes() const {
    return CodedFile(source_, targets_, options_.seed, provenance(), {}).bytes();
  }
  uint64_t n_weights() const {
    uint64_t n = 0;
    for (const TensorEntry& t : source_.header.tensors.entries())
      n += static_cast<uint64_t>(t.n_rows * t.n_cols);
    return n;
  }
  void tell(const char* stage, size_t done, size_t of) const {
    if (progress_) progress_(stage, static_cast<double>(done) / static_cast<double>(of));
  }

  const SourceModel& source_;
  const CompressOptions& options_;
  const Damping damping_;
  ThreadPool& pool_;
  const Progress& progress_;
  Checkpoint* checkpoint_;
  Statistics statistics_;
  std::vector<Target> targets_;
  std::vector<Matrix> after_;
  CompressReport report_;
};

Result<Compression::Windows> Compression::windows_of(std::span<const int32_t> tokens, int64_t n,
                                                     const char* what) const {
  const auto length = static_cast<size_t>(std::min(options_.window_tokens, source_.hparams.n_ctx_train));
  if (tokens.size() < length)
    return Status(ErrorCode::invalid_argument, std::string("the ") + what + " text has " +
                                                   std::to_string(tokens.size()) + " tokens, at least " +
                                                   std::to_string(length) + " are needed");
  const size_t have = tokens.size() / length, want = std::min<size_t>(have, static_cast<size_t>(n));
  Windows windows;
  for (size_t i = 0; i < want; ++i) windows.push_back(tokens.subspan(i * have / want * length, length));
  return windows;
}

// Brings the windows of the gradients, which lie all over the text, to the front; answers how many.
size_t Compression::take_evenly(Windows& texts) const {
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

// The file's head depends on how the token table is cut up: room for a run of every width and the order.
Status Compression::allocate() {
  const uint64_t smallest = file_bytes();
  const uint64_t limit = options_.size_bytes > 0
                             ? options_.size_bytes
                             : static_cast<uint64_t>(options_.bits * static_cast<double>(n_weights()) / 8);
  if (limit < smallest)
    return {ErrorCode::invalid_argument, "a size of " + std::to_string(limit) +
                                             " bytes cannot be reached; the smallest for this model is " +
                                             std::to_string(smallest)};
  uint64_t coded = 0;
  std::vector<Target> cut = targets_;
  for (Target& t : cut) {
    coded += t.bytes();
    if (!t.tokens() || t.n_rows <= 3 * kTrellisRows) continue;
    t.order.resize(static_cast<size_t>(t.n_rows));
    const CodedRows least = t.runs[0].coded;
    t.runs = {{0, kTrellisRows, least},
              {kTrellisRows, kTrellisRows, least},
              {2 * kTrellisRows, t.n_rows - 2 * kTrellisRows, least}};
  }
  const uint64_t with_runs = CodedFile(source_, cut, options_.seed, provenance(), {}).bytes();
  const uint64_t for_codes = limit > with_runs ? limit - (with_runs - coded) : coded;
  report_.predicted_kl = allocate_bits(targets_, source_.weights, statistics_, damping_, for_codes, pool_);
  return {};
}

void Compression::report_sizes() {
  for (const Target& t : targets_) report_.bits.emplace_back(t.name, t.mean_bits());
  report_.bytes = file_bytes();
  report_.bits_per_weight = 8.0 * static_cast<double>(report_.bytes) / static_cast<double>(n_weights());
}

// Statistics and bits per matrix, from a run before where there was one.
Status Compression::calibrate(const Windows& windows, std::span<const int32_t> calibration) {
  std::vector<uint8_t> key(8);
  if (checkpoint_ != nullptr) {
    const uint64_t mark = fingerprint(source_, options_, calibration);
    std::memcpy(key.data(), &mark, key.size());
    statistics_.outputs.resize(after_.size());
    statistics_.token_weights.resize(after_.size());
    if (checkpoint_->load("key") == key &&
        thaw(checkpoint_->load("plan"), statistics_, targets_, report_.predicted_kl))
      return {};
  }
  statistics_ =
      gather_statistics(source_.graph, source_.weights, windows, options_.seed, pool_,
                        [&](int64_t n) { tell("calibration", static_cast<size_t>(n), windows.size()); });
  RETURN_IF_ERROR(allocate());
  statistics_.inputs = {};
  if (checkpoint_ == nullptr) return {};
  // Whatever is there belongs to the plan that is there: none, while it is exchanged.
  RETURN_IF_ERROR(checkpoint_->save("key", {}));
  for (const Target& t : targets_) RETURN_IF_ERROR(checkpoint_->save(t.name, {}));
  RETURN_IF_ERROR(checkpoint_->save("plan", freeze(statistics_, targets_, report_.predicted_kl)));
  return checkpoint_->save("key", key);
}

Provenance Compression::provenance() const {
  const Comparison& q = report_.quality;
  return {{{"quality.mean_kl", static_cast<float>(q.mean_kl)},
           {"quality.top1_agreement", static_cast<float>(q.top1_agreement)},
           {"quality.perplexity_before", static_cast<float>(q.perplexity_before)},
           {"quality.perplexity_after", static_cast<float>(q.perplexity_after)}},
          {{"quality.tokens", static_cast<uint32_t>(q.scored)},
           {"calibration.tokens", static_cast<uint32_t>(statistics_.n_tokens)}}};
}

std::map<std::string, const Matrix*> Compression::changed_vectors() const {
  std::map<std::string, const Matrix*> changed;
  for (size_t i = 0; i < after_.size(); ++i)
    if (can_change(source_, static_cast<WeightId>(i)) && after_[i] != source_.weights[i])
      changed[source_.graph.weights[i].name] = &after_[i];
  return changed;
}

Result<CompressReport> Compression::run(std::span<const int32_t> calibration,
                                        std::span<const int32_t> evaluation, const WriteBytes& write) {
  targets_ = choose_targets(source_.graph);
  ASSIGN_OR_RETURN(Windows texts, windows_of(calibration, kInputWindows * options_.windows, "calibration"));
  const Windows windows(texts.begin(), texts.begin() + static_cast<std::ptrdiff_t>(take_evenly(texts)));
  ASSIGN_OR_RETURN(const Windows held_out, windows_of(evaluation, options_.held_out, "evaluation"));
  const MemoryPlan memory = plan_memory(source_.graph, options_, static_cast<int64_t>(texts.size()));
  if (options_.memory_limit > 0 && memory.total() > options_.memory_limit)
    return Status(ErrorCode::out_of_memory, "compressing this model takes " + std::to_string(memory.total()) +
                                                " bytes of memory, " + std::to_string(options_.memory_limit) +
                                                " may be used");
  after_ = source_.weights;
  RETURN_IF_ERROR(calibrate(windows, calibration));
  report_sizes();
  RETURN_IF_ERROR(code_targets(source_, statistics_, {options_.seed, damping_}, texts, pool_, checkpoint_,
                               targets_, after_,
                               [&](int64_t n) { tell("coding", static_cast<size_t>(n), targets_.size()); }));
  if (const int64_t steps = heal_steps(source_, options_.heal_minutes); steps > 0) {
    heal(source_, texts, steps, pool_, targets_, after_,
         [&](int64_t n) { tell("healing", static_cast<size_t>(n), static_cast<size_t>(steps)); });
  }
  std::vector<bool> coded(source_.graph.weights.size(), false);
  for (const Target& t : targets_) coded[static_cast<size_t>(t.weight)] = true;
  report_.quality = compare(source_.graph, source_.weights, after_, coded, options_.seed, held_out, pool_,
                            [&](int64_t n) { tell("evaluation", static_cast<size_t>(n), held_out.size()); });
  const std::map<std::string, const Matrix*> changed = changed_vectors();
  RETURN_IF_ERROR(CodedFile(source_, targets_, options_.seed, provenance(), changed).write(write));
  return std::move(report_);
}

}  // namespace

Result<CompressReport> compress(const SourceModel& source, const CompressOptions& options,
                                std::span<const int32_t> calibration, std::span<const int32_t> evaluation,
                                ThreadPool& pool, const WriteBytes& write, const Progress& progress,
                                Checkpoint* checkpoint) {
  return Compression(source, options, pool, progress, checkpoint).run(calibration, evaluation, write);
}

}  // namespace nutshell::compress
