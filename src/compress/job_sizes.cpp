// Sizes of a job's file: what can be reached, and what it costs.
#include <algorithm>
#include <cmath>

#include "compress/heal.h"
#include "compress/job.h"

namespace nutshell::compress {

uint64_t CompressJob::n_weights() const {
  uint64_t n = 0;
  for (const TensorEntry& t : source_.header.tensors.entries())
    n += static_cast<uint64_t>(t.n_rows * t.n_cols);
  return n;
}

uint64_t CompressJob::file_bytes(const std::vector<Target>& targets) const {
  const std::map<std::string, const Matrix*> none;
  return CodedFile(source_, targets, options_.seed, provenance(), none).bytes();
}

// Of all but the codes. It depends on how the token table is cut up: room for a run of every width and the
// order.
uint64_t CompressJob::head_bytes() const {
  uint64_t coded = 0;
  std::vector<Target> cut = choose_targets(source_.graph);
  for (Target& t : cut) {
    coded += t.bytes();
    if (!t.tokens() || t.n_rows <= 3 * kTrellisRows) continue;
    t.order.resize(static_cast<size_t>(t.n_rows));
    const CodedRows least = t.runs[0].coded;
    t.runs = {{0, kTrellisRows, least},
              {kTrellisRows, kTrellisRows, least},
              {2 * kTrellisRows, t.n_rows - 2 * kTrellisRows, least}};
  }
  return file_bytes(cut) - coded;
}

uint64_t CompressJob::largest_bytes() const {
  uint64_t codes = 0;
  for (const Target& t : choose_targets(source_.graph)) codes += t.bytes(kMaxBits, t.n_rows);
  return head_bytes() + codes;
}

uint64_t CompressJob::kept_bytes(uint64_t bytes) const {
  uint64_t total = 0, inputs = 0;
  uint64_t calibration_tokens = 0;
  for (const std::span<const int32_t> window : windows_) calibration_tokens += window.size();
  const Statistics statistics = no_statistics(source_.graph);
  for (const GatheredOf& of : options_.data_free ? std::vector<GatheredOf>() : all_gathered(statistics)) {
    (of.outputs ? total : inputs) += moments_bytes(moments_width(of), options_.most_moments);
    if (!of.outputs) total += sizeof(uint64_t) + calibration_tokens * sizeof(float);
  }
  total += std::max(bytes, inputs);  // codes, all but, come when inputs are not needed any more
  for (const Target& t : choose_targets(source_.graph)) {
    total += static_cast<uint64_t>(t.n_rows) * sizeof(double);
    if (t.tokens()) total += moments_bytes(t.n_cols, t.n_cols) + 8 * static_cast<uint64_t>(t.n_rows);
  }
  return total;
}

uint64_t CompressJob::bytes_at(double bits) const {
  return static_cast<uint64_t>(bits * static_cast<double>(n_weights()) / 8);
}

Status CompressJob::check_size(uint64_t bytes) const {
  if (const uint64_t smallest = smallest_bytes(); bytes < smallest)
    return {ErrorCode::invalid_argument, "a size of " + std::to_string(bytes) +
                                             " bytes cannot be reached; the smallest for this model is " +
                                             std::to_string(smallest)};
  return {};
}

namespace {

// The divergence to expect from what the rows' errors add up to. A fit to what was measured: more than the
// sum where the metrics come from few tokens, which they fit better than other text, and growing faster than
// it. SmolLM2 (576 columns), sums and measured: with 4,096 tokens .343 .605 (43 MB), .174 .277 (53), .106
// .137 (64); with 24,576 .233 .200 (53), .133 .093 (64).
double expected_kl(double sum, int64_t n_embd, int64_t n_tokens) {
  const double per_token = static_cast<double>(n_embd) / static_cast<double>(std::max<int64_t>(1, n_tokens));
  return std::min(1.0 + 9.8 * per_token, 4.0) * std::pow(sum, 1.26);
}

}  // namespace

Status CompressJob::share(uint64_t bytes, std::vector<Target>& targets, double& predicted_kl) const {
  RETURN_IF_ERROR(check_size(bytes));
  uint64_t least = 0;
  for (const Target& t : targets) least += t.bytes();
  // The file's head depends on how the matrices are cut up: what it takes is taken from the codes.
  for (uint64_t head = file_bytes(targets) - least;;) {
    const double sum = share_bits(targets, analysis_.errors, std::max(least, bytes - std::min(head, bytes)));
    predicted_kl = expected_kl(sum, source_.hparams.n_embd, analysis_.statistics.n_tokens);
    const uint64_t total = file_bytes(targets);
    if (total <= bytes || head + least >= bytes) return {};
    head += total - bytes;
  }
}

Result<Prediction> CompressJob::predict(uint64_t bytes) const {
  std::vector<Target> targets = choose_targets(source_.graph);
  Prediction p;
  RETURN_IF_ERROR(share(bytes, targets, p.kl));
  p.bits_per_weight = 8.0 * static_cast<double>(bytes) / static_cast<double>(n_weights());
  return p;
}

// The least size whose predicted KL is at most that; the largest, where none is.
uint64_t CompressJob::bytes_for(double predicted_kl) const {
  std::vector<Target> targets = choose_targets(source_.graph);
  uint64_t low = file_bytes(targets), high = 0;
  for (const Target& t : targets) high += t.bytes(kMaxBits, t.n_rows) - t.bytes();
  for (const Target& t : targets)
    high += t.tokens() ? 8 * static_cast<uint64_t>(t.n_rows) + 1024 : 0;  // order, runs
  high += low;
  while (high - low > high / 500) {
    const uint64_t middle = low + (high - low) / 2;
    targets = choose_targets(source_.graph);
    double kl = 0;
    if (!share(middle, targets, kl).ok()) break;
    (kl <= predicted_kl ? high : low) = middle;
  }
  return high;
}

// Files of one recipe have one size: allocations differ by a few rows between kinds of CPU, whose floats do.
void CompressJob::report_sizes(uint64_t asked) {
  for (const Target& t : targets_) report_.bits.emplace_back(t.name, t.mean_bits());
  report_.bytes = file_bytes(targets_);
  if (!at_most_bits(targets_)) report_.bytes = std::max(report_.bytes, asked);
  report_.bits_per_weight = 8.0 * static_cast<double>(report_.bytes) / static_cast<double>(n_weights());
}

Provenance CompressJob::provenance() const {
  const auto tokens = static_cast<uint32_t>(analysis_.statistics.n_tokens);
  const Comparison& q = report_.quality;
  if (held_out_.empty()) return {{}, {{"calibration.tokens", tokens}}};
  if (source_.hparams.pooling != Pooling::none)
    return {{{"quality.mean_cosine", static_cast<float>(q.mean_cosine)}},
            {{"quality.texts", static_cast<uint32_t>(q.scored)}, {"calibration.tokens", tokens}}};
  return {{{"quality.mean_kl", static_cast<float>(q.mean_kl)},
           {"quality.top1_agreement", static_cast<float>(q.top1_agreement)},
           {"quality.perplexity_before", static_cast<float>(q.perplexity_before)},
           {"quality.perplexity_after", static_cast<float>(q.perplexity_after)}},
          {{"quality.tokens", static_cast<uint32_t>(q.scored)}, {"calibration.tokens", tokens}}};
}

std::map<std::string, const Matrix*> CompressJob::changed_vectors() const {
  std::map<std::string, const Matrix*> changed;
  for (size_t i = 0; i < after_.size(); ++i)
    if (can_change(source_, static_cast<WeightId>(i)) && after_[i] != source_.weights[i])
      changed[source_.graph.weights[i].name] = &after_[i];
  return changed;
}

}  // namespace nutshell::compress
