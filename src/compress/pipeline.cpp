#include "compress/pipeline.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "compress/coded_file.h"
#include "compress/coding.h"
#include "compress/heal.h"
#include "compress/memory.h"
#include "compress/texts.h"

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
  Status allocate(uint64_t limit);
  Result<uint64_t> wanted_bytes() const;
  Status code(const Windows& texts, const Windows& held_out);
  Status search(const Windows& texts, const Windows& held_out);
  Result<uint64_t> bytes_for(double predicted_kl);
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
  std::vector<std::vector<double>> errors_;  // targets.h
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
  return spread_windows(tokens, static_cast<int64_t>(length), n);
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

// The file's head depends on how the matrices are cut up: what it takes is taken from the codes.
Status Compression::allocate(uint64_t limit) {
  targets_ = choose_targets(source_.graph);
  if (errors_.empty())
    errors_ = options_.data_free ? even_errors(targets_, source_.weights)
                                 : measured_errors(targets_, source_.weights, statistics_, damping_, pool_);
  uint64_t least = 0;
  for (const Target& t : targets_) least += t.bytes();
  for (uint64_t head = file_bytes() - least;;) {
    report_.predicted_kl = share_bits(targets_, errors_, std::max(least, limit - std::min(head, limit)));
    const uint64_t bytes = file_bytes();
    if (bytes <= limit || head + least >= limit) return {};
    head += bytes - limit;
  }
}

// Precondition: the targets have the fewest bits.
Result<uint64_t> Compression::wanted_bytes() const {
  const uint64_t smallest = file_bytes();
  if (options_.max_kl > 0) return smallest;
  const uint64_t limit = options_.size_bytes > 0
                             ? options_.size_bytes
                             : static_cast<uint64_t>(options_.bits * static_cast<double>(n_weights()) / 8);
  if (limit < smallest)
    return Status(ErrorCode::invalid_argument,
                  "a size of " + std::to_string(limit) +
                      " bytes cannot be reached; the smallest for this model is " + std::to_string(smallest));
  return limit;
}

void Compression::report_sizes() {
  report_.bits.clear();
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
  if (!options_.data_free)
    statistics_ =
        gather_statistics(source_.graph, source_.weights, windows, options_.seed, pool_,
                          [&](int64_t n) { tell("calibration", static_cast<size_t>(n), windows.size()); });
  ASSIGN_OR_RETURN(const uint64_t limit, wanted_bytes());
  RETURN_IF_ERROR(allocate(limit));
  if (options_.max_kl > 0) return {};  // asks for more sizes
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
  if (options_.held_out == 0)
    return {{}, {{"calibration.tokens", static_cast<uint32_t>(statistics_.n_tokens)}}};
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
  if (options_.data_free && options_.heal_minutes > 0)
    return Status(ErrorCode::invalid_argument,
                  "healing needs calibration texts; without data there are none");
  targets_ = choose_targets(source_.graph);
  Windows texts, windows, held_out;  // texts: the windows, and more for the moments of inputs
  if (!options_.data_free) {
    ASSIGN_OR_RETURN(texts, windows_of(calibration, kInputWindows * options_.windows, "calibration"));
    const size_t n = take_evenly(texts);
    windows.assign(texts.begin(), texts.begin() + static_cast<std::ptrdiff_t>(n));
  }
  if (options_.held_out > 0) {
    ASSIGN_OR_RETURN(held_out, windows_of(evaluation, options_.held_out, "evaluation"));
  }
  const MemoryPlan memory = plan_memory(source_.graph, options_, static_cast<int64_t>(texts.size()));
  if (options_.memory_limit > 0 && memory.total() > options_.memory_limit)
    return Status(ErrorCode::out_of_memory, "compressing this model takes " + std::to_string(memory.total()) +
                                                " bytes of memory, " + std::to_string(options_.memory_limit) +
                                                " may be used");
  if (options_.max_kl > 0) {
    if (held_out.empty())
      return Status(ErrorCode::invalid_argument,
                    "a KL divergence is asked for, but no text to measure it on");
    checkpoint_ = nullptr;  // it holds one size
  }
  after_ = source_.weights;
  RETURN_IF_ERROR(calibrate(windows, calibration));
  RETURN_IF_ERROR(options_.max_kl > 0 ? search(texts, held_out) : code(texts, held_out));
  const std::map<std::string, const Matrix*> changed = changed_vectors();
  RETURN_IF_ERROR(CodedFile(source_, targets_, options_.seed, provenance(), changed).write(write));
  return std::move(report_);
}

// Codes the targets at their bits, heals, and measures.
Status Compression::code(const Windows& texts, const Windows& held_out) {
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
  if (held_out.empty()) return {};
  report_.quality = compare(source_.graph, source_.weights, after_, coded, options_.seed, held_out, pool_,
                            [&](int64_t n) { tell("evaluation", static_cast<size_t>(n), held_out.size()); });
  return {};
}

// The least size whose predicted KL is at most that; the largest, where none is.
Result<uint64_t> Compression::bytes_for(double predicted_kl) {
  uint64_t low = 0, high = 0;
  targets_ = choose_targets(source_.graph);
  low = file_bytes();
  for (const Target& t : targets_) high += t.bytes(kMaxBits, t.n_rows) - t.bytes();
  for (const Target& t : targets_)
    high += t.tokens() ? 8 * static_cast<uint64_t>(t.n_rows) + 1024 : 0;  // order, runs
  high += low;
  while (high - low > high / 500) {
    const uint64_t middle = low + (high - low) / 2;
    RETURN_IF_ERROR(allocate(middle));
    (report_.predicted_kl <= predicted_kl ? high : low) = middle;
  }
  return high;
}

// What is measured is a little more than what is predicted, by a share that changes slowly with the size:
// each try corrects it. The smallest file that stays below the limit is the one.
Status Compression::search(const Windows& texts, const Windows& held_out) {
  constexpr int kTries = 5;
  constexpr double kNearEnough = 0.93;
  double share = 1.1;
  int failed = 0;  // tries that came out above: the next ones aim lower
  std::optional<CompressReport> best;
  std::vector<Target> best_targets;
  std::vector<Matrix> best_after;
  for (int i = 0; i < kTries; ++i) {
    const double aim = 0.98 * std::pow(0.93, failed) * options_.max_kl;
    ASSIGN_OR_RETURN(const uint64_t bytes, bytes_for(aim / share));
    RETURN_IF_ERROR(allocate(bytes));
    after_ = source_.weights;
    RETURN_IF_ERROR(code(texts, held_out));
    const double kl = report_.quality.mean_kl;
    share = kl / std::max(report_.predicted_kl, 1e-12);
    const bool below = kl <= options_.max_kl;
    failed += !below;
    const bool last = below && kl >= kNearEnough * options_.max_kl;
    if (below && (!best || report_.bytes < best->bytes)) {
      best = report_;
      best_targets = targets_;
      best_after = after_;
    }
    const bool largest = std::all_of(targets_.begin(), targets_.end(), [](const Target& t) {
      return t.mean_bits() == static_cast<double>(kMaxBits);
    });
    if (!below && largest)
      return {ErrorCode::invalid_argument, "a KL divergence of " + std::to_string(options_.max_kl) +
                                               " cannot be reached; the least for this model is " +
                                               std::to_string(kl) + ", with " +
                                               std::to_string(report_.bytes) + " bytes"};
    if (last) break;
  }
  if (!best)
    return {ErrorCode::invalid_argument,
            "no size was found in " + std::to_string(kTries) + " tries whose KL divergence is below " +
                std::to_string(options_.max_kl) + "; the nearest has " + std::to_string(report_.bytes) +
                " bytes and " + std::to_string(report_.quality.mean_kl)};
  report_ = *best;
  targets_ = std::move(best_targets);
  after_ = std::move(best_after);
  return {};
}

}  // namespace

Result<CompressReport> compress(const SourceModel& source, const CompressOptions& options,
                                std::span<const int32_t> calibration, std::span<const int32_t> evaluation,
                                ThreadPool& pool, const WriteBytes& write, const Progress& progress,
                                Checkpoint* checkpoint) {
  return Compression(source, options, pool, progress, checkpoint).run(calibration, evaluation, write);
}

}  // namespace nutshell::compress
