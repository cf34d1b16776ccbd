#include "compress/pipeline.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "compress/allocate.h"
#include "compress/gguf_writer.h"
#include "compress/items.h"
#include "compress/quantize.h"
#include "compress/trellis.h"

namespace nutshell::compress {
namespace {

constexpr uint32_t kGgmlI8 = 24;

// A matrix to be coded and what its errors are measured with.
struct Target {
  WeightId weight;
  bool table = false, head = false;  // rows are tokens
  int bits = 0;
  std::optional<CodedMatrix> coded;
};

class Compression {
 public:
  Compression(const SourceModel& source, const CompressOptions& options, ThreadPool& pool,
              const Progress& progress)
      : source_(source),
        options_(options),
        pool_(pool),
        progress_(progress),
        writer_(source.header.metadata) {}

  Result<CompressReport> run(std::span<const int32_t> calibration, std::span<const int32_t> evaluation,
                             const WriteBytes& write);

 private:
  Result<std::vector<std::span<const int32_t>>> windows_of(std::span<const int32_t> tokens, int64_t n,
                                                           const char* what) const;
  void choose_targets();
  Matrix input_metric(const Target& t) const;
  double predicted_error(const Target& t) const;
  Status allocate_bits();
  uint64_t file_bytes() const;
  std::vector<TensorOut> tensors_out() const;
  void code_matrices();
  void code_tokens(Target& t);
  void describe();
  Status write_file(const WriteBytes& write) const;
  const WeightSpec& spec(const Target& t) const {
    return source_.graph.weights[static_cast<size_t>(t.weight)];
  }
  const Target* target_of(const std::string& name) const;
  uint64_t coded_bytes(const Target& t, int bits) const {
    return static_cast<uint64_t>((spec(t).n_rows + 15) / 16 * (32 + 2 * bits * spec(t).n_cols));
  }

  const SourceModel& source_;
  const CompressOptions& options_;
  ThreadPool& pool_;
  const Progress& progress_;
  GgufWriter writer_;
  Statistics statistics_;
  std::vector<Target> targets_;
  std::vector<Matrix> after_;
  CompressReport report_;
};

Result<std::vector<std::span<const int32_t>>> Compression::windows_of(std::span<const int32_t> tokens,
                                                                      int64_t n, const char* what) const {
  const auto length = static_cast<size_t>(std::min(options_.window_tokens, source_.hparams.n_ctx_train));
  if (tokens.size() < length)
    return Status(ErrorCode::invalid_argument, std::string("the ") + what + " text has " +
                                                   std::to_string(tokens.size()) + " tokens, at least " +
                                                   std::to_string(length) + " are needed");
  const size_t have = tokens.size() / length, want = std::min<size_t>(have, static_cast<size_t>(n));
  std::vector<std::span<const int32_t>> windows;
  for (size_t i = 0; i < want; ++i) windows.push_back(tokens.subspan(i * have / want * length, length));
  return windows;
}

void Compression::choose_targets() {
  WeightId head = kNone;
  for (const Op& op : source_.graph.ops)
    if (const auto* linear = std::get_if<LinearOp>(&op))
      if (linear->parts[0].out == source_.graph.logits) head = linear->parts[0].weight;
  for (size_t i = 0; i < source_.graph.weights.size(); ++i) {
    const WeightSpec& w = source_.graph.weights[i];
    if ((w.use & kUseVector) != 0 || w.n_rows < 16 || w.n_cols % 32 != 0) continue;
    targets_.push_back(
        {static_cast<WeightId>(i), (w.use & kUseTable) != 0, static_cast<WeightId>(i) == head, 0, {}});
  }
}

const Target* Compression::target_of(const std::string& name) const {
  for (const Target& t : targets_)
    if (spec(t).name == name) return &t;
  return nullptr;
}

Matrix Compression::input_metric(const Target& t) const {
  if (t.table && t.head) return statistics_.head_inputs + statistics_.embed_gradients;
  if (t.table) return statistics_.embed_gradients;
  if (t.head) return statistics_.head_inputs;
  return statistics_.inputs[static_cast<size_t>(statistics_.input_of[static_cast<size_t>(t.weight)])];
}

// KL per token of coding at an error of 1 per unit of variance: 1/2 sum of D_A D_B var(row). The rotation
// spreads a row's variance evenly, so the columns' part is the sum of D_B.
double Compression::predicted_error(const Target& t) const {
  const Matrix& w = source_.weights[static_cast<size_t>(t.weight)];
  const Eigen::VectorXf variance = w.rowwise().squaredNorm() / static_cast<float>(w.cols());
  double rows = 0;
  if (t.table || t.head) {
    const double table = t.table ? statistics_.embed_gradients.trace() : 0.0,
                 head = t.head ? statistics_.head_inputs.trace() : 0.0;
    double total = 0;
    for (const float v : statistics_.head_rows) total += static_cast<double>(v);
    for (int64_t r = 0; r < w.rows(); ++r) {
      const auto i = static_cast<size_t>(r);
      const double share = (static_cast<double>(statistics_.token_shares[i]) * table +
                            static_cast<double>(statistics_.head_rows[i]) / total * head) /
                           (table + head);
      rows += share * static_cast<double>(variance(r));
    }
  } else {
    const MetricFactor a =
        factor_metric(statistics_.outputs[static_cast<size_t>(t.weight)], options_.damp_outputs);
    for (int64_t r = 0; r < w.rows(); ++r)
      rows += static_cast<double>(a.d[static_cast<size_t>(r)] * variance(r));
  }
  const MetricFactor b = factor_metric(input_metric(t), options_.damp_inputs);
  double columns = 0;
  for (const float d : b.d) columns += static_cast<double>(d);
  return 0.5 * rows * columns;
}

std::vector<TensorOut> Compression::tensors_out() const {
  std::vector<TensorOut> out;
  for (const TensorEntry& tensor : source_.header.tensors.entries()) {
    const Target* t = target_of(tensor.name);
    if (t == nullptr) {
      out.push_back({tensor.name,
                     {tensor.shape.begin(), tensor.shape.end()},
                     info_of(*tensor.dtype).gguf_id,
                     tensor.bytes});
    } else {
      const uint64_t row = static_cast<uint64_t>(2 + t->bits * spec(*t).n_cols / 8);
      const uint64_t bytes = coded_bytes(*t, t->bits);
      out.push_back({tensor.name, {row, bytes / row}, kGgmlI8, bytes});
    }
  }
  return out;
}

uint64_t Compression::file_bytes() const {
  GgufWriter writer = writer_;
  const std::vector<TensorOut> tensors = tensors_out();
  uint64_t total = writer.header(tensors).size();
  for (const TensorOut& t : tensors) total += writer.padded(t.bytes);
  return total;
}

Status Compression::allocate_bits() {
  std::vector<Budget> items(targets_.size());
  std::vector<double> error(targets_.size());
  for_items(pool_, static_cast<int64_t>(targets_.size()), [&](int64_t i) {
    error[static_cast<size_t>(i)] = predicted_error(targets_[static_cast<size_t>(i)]);
  });
  uint64_t n_weights = 0;
  for (const TensorEntry& t : source_.header.tensors.entries())
    n_weights += static_cast<uint64_t>(t.n_rows * t.n_cols);
  for (size_t i = 0; i < targets_.size(); ++i) {
    targets_[i].bits = kMinBits;
    for (int k = kMinBits; k <= kMaxBits; ++k) {
      items[i].cost[static_cast<size_t>(k)] = error[i] * static_cast<double>(trellis_tables(k).mse);
      items[i].bytes[static_cast<size_t>(k)] = coded_bytes(targets_[i], k);
    }
  }
  describe();  // its length does not depend on the bits
  uint64_t smallest_coded = 0;
  for (const Target& t : targets_) smallest_coded += coded_bytes(t, kMinBits);
  const uint64_t fixed = file_bytes() - smallest_coded;
  const uint64_t limit = options_.size_bytes > 0
                             ? options_.size_bytes
                             : static_cast<uint64_t>(options_.bits * static_cast<double>(n_weights) / 8);
  if (limit < fixed + smallest_coded)
    return {ErrorCode::invalid_argument, "a size of " + std::to_string(limit) +
                                             " bytes cannot be reached; the smallest for this model is " +
                                             std::to_string(fixed + smallest_coded)};
  const Allocation a = allocate(items, limit - fixed);
  for (size_t i = 0; i < targets_.size(); ++i) {
    targets_[i].bits = a.bits[i];
    report_.bits.emplace_back(spec(targets_[i]).name, a.bits[i]);
  }
  report_.predicted_kl = a.predicted_kl;
  report_.bytes = file_bytes();
  report_.bits_per_weight = 8.0 * static_cast<double>(report_.bytes) / static_cast<double>(n_weights);
  return {};
}

void Compression::code_tokens(Target& t) {
  Matrix& w = after_[static_cast<size_t>(t.weight)];
  const MetricFactor inputs = factor_inputs(pool_, input_metric(t), options_.seed, options_.damp_inputs);
  to_code_space(pool_, options_.seed, w);
  t.coded = prepare_coded(t.bits, w);
  constexpr int64_t kRows = 256;
  for_items(pool_, (w.rows() + kRows - 1) / kRows, [&](int64_t i) {
    quantize_rows(inputs, nullptr, i * kRows, std::min(w.rows(), (i + 1) * kRows), w, *t.coded);
  });
  from_code_space(pool_, options_.seed, w);
}

// Matrices are independent of each other: one item each. The factors of an input are made once for all its
// readers.
void Compression::code_matrices() {
  after_ = source_.weights;
  std::vector<Target*> rest;
  for (Target& t : targets_) {
    if (t.table || t.head) {
      code_tokens(t);
    } else {
      rest.push_back(&t);
    }
  }
  size_t done = 0;
  for (size_t begin = 0; begin < rest.size();) {
    const WeightId input = statistics_.input_of[static_cast<size_t>(rest[begin]->weight)];
    size_t end = begin;
    while (end < rest.size() && statistics_.input_of[static_cast<size_t>(rest[end]->weight)] == input) ++end;
    const MetricFactor inputs =
        factor_inputs(pool_, input_metric(*rest[begin]), options_.seed, options_.damp_inputs);
    for (size_t i = begin; i < end; ++i)
      to_code_space(pool_, options_.seed, after_[static_cast<size_t>(rest[i]->weight)]);
    for_items(pool_, static_cast<int64_t>(end - begin), [&](int64_t i) {
      Target& t = *rest[begin + static_cast<size_t>(i)];
      Matrix& w = after_[static_cast<size_t>(t.weight)];
      const MetricFactor outputs =
          factor_metric(statistics_.outputs[static_cast<size_t>(t.weight)], options_.damp_outputs);
      t.coded = prepare_coded(t.bits, w);
      quantize_rows(inputs, &outputs, 0, w.rows(), w, *t.coded);
    });
    for (size_t i = begin; i < end; ++i)
      from_code_space(pool_, options_.seed, after_[static_cast<size_t>(rest[i]->weight)]);
    done += end - begin;
    begin = end;
    if (progress_) progress_("coding", static_cast<double>(done) / static_cast<double>(rest.size()));
  }
}

void Compression::describe() {
  writer_ = GgufWriter(source_.header.metadata);
  writer_.add("nutshell.version", uint32_t{1});
  writer_.add("nutshell.rotation.seed", options_.seed);
  std::vector<uint8_t> tables;
  for (int k = kMinBits; k <= kMaxBits; ++k) {
    const TrellisTables& t = trellis_tables(k);
    tables.insert(tables.end(), t.t1.begin(), t.t1.end());
    tables.insert(tables.end(), t.t2.begin(), t.t2.end());
    tables.insert(tables.end(), {t.zero, t.start, 0, 0, 0, 0, 0, 0});
  }
  writer_.add_bytes("nutshell.tables", tables, GgufType::u8);
  std::vector<std::string> names, formats;
  std::vector<uint32_t> rows, columns, sets;
  std::vector<float> scales;
  for (const Target& t : targets_) {
    names.push_back(spec(t).name);
    formats.push_back("NT" + std::to_string(t.bits));
    rows.push_back(static_cast<uint32_t>(spec(t).n_rows));
    columns.push_back(static_cast<uint32_t>(spec(t).n_cols));
    sets.push_back(static_cast<uint32_t>(t.bits - kMinBits));
    scales.push_back(t.coded ? t.coded->scale : 0.0f);
  }
  writer_.add("nutshell.coded.names", names);
  writer_.add("nutshell.coded.formats", formats);
  writer_.add("nutshell.coded.rows", rows);
  writer_.add("nutshell.coded.columns", columns);
  writer_.add("nutshell.coded.tables", sets);
  writer_.add("nutshell.coded.scales", scales);
  writer_.add_bytes("nutshell.coded.rotated", std::vector<uint8_t>(targets_.size(), 1), GgufType::boolean);
  writer_.add("nutshell.quality.mean_kl", static_cast<float>(report_.quality.mean_kl));
  writer_.add("nutshell.quality.top1_agreement", static_cast<float>(report_.quality.top1_agreement));
  writer_.add("nutshell.quality.perplexity_before", static_cast<float>(report_.quality.perplexity_before));
  writer_.add("nutshell.quality.perplexity_after", static_cast<float>(report_.quality.perplexity_after));
  writer_.add("nutshell.calibration.tokens", static_cast<uint32_t>(statistics_.n_tokens));
}

Status Compression::write_file(const WriteBytes& write) const {
  const std::vector<TensorOut> tensors = tensors_out();
  RETURN_IF_ERROR(write(writer_.header(tensors)));
  for (const TensorEntry& tensor : source_.header.tensors.entries()) {
    const Target* t = target_of(tensor.name);
    std::vector<uint8_t> bytes;
    if (t == nullptr) {
      ASSIGN_OR_RETURN(bytes, source_.tensor_bytes(tensor));
    } else {
      bytes = pack(*t->coded);
    }
    bytes.resize(writer_.padded(bytes.size()), 0);
    RETURN_IF_ERROR(write(bytes));
  }
  return {};
}

Result<CompressReport> Compression::run(std::span<const int32_t> calibration,
                                        std::span<const int32_t> evaluation, const WriteBytes& write) {
  choose_targets();
  ASSIGN_OR_RETURN(const auto windows, windows_of(calibration, options_.windows, "calibration"));
  ASSIGN_OR_RETURN(const auto held_out, windows_of(evaluation, options_.held_out, "evaluation"));
  statistics_ =
      gather_statistics(source_.graph, source_.weights, windows, options_.seed, pool_, [&](int64_t n) {
        if (progress_) progress_("calibration", static_cast<double>(n) / static_cast<double>(windows.size()));
      });
  RETURN_IF_ERROR(allocate_bits());
  code_matrices();
  std::vector<bool> coded(source_.graph.weights.size(), false);
  for (const Target& t : targets_) coded[static_cast<size_t>(t.weight)] = true;
  report_.quality = compare(source_.graph, source_.weights, after_, coded, options_.seed, held_out, pool_);
  describe();
  RETURN_IF_ERROR(write_file(write));
  return std::move(report_);
}

}  // namespace

Result<CompressReport> compress(const SourceModel& source, const CompressOptions& options,
                                std::span<const int32_t> calibration, std::span<const int32_t> evaluation,
                                ThreadPool& pool, const WriteBytes& write, const Progress& progress) {
  return Compression(source, options, pool, progress).run(calibration, evaluation, write);
}

}  // namespace nutshell::compress
