#include "compress/coding.h"

#include <algorithm>

#include "compress/items.h"

namespace nutshell::compress {
namespace {

class Coder {
 public:
  Coder(const SourceModel& source, const Statistics& statistics, const CodingOptions& options,
        ThreadPool& pool, Checkpoint* checkpoint, std::vector<Target>& targets, std::vector<Matrix>& weights)
      : source_(source),
        statistics_(statistics),
        options_(options),
        pool_(pool),
        checkpoint_(checkpoint),
        weights_(weights),
        target_of_(weights.size(), nullptr) {
    for (Target& t : targets) target_of_[static_cast<size_t>(t.weight)] = &t;
  }

  Status code(const std::vector<std::span<const int32_t>>& windows,
              const std::function<void(int64_t)>& progress);

 private:
  Status code_rows(Target& t, bool without_data);
  Status code_linear(const LinearOp& op);
  bool restore(Target& t);
  Status finish(Target& t);
  void decode_rows(const Target& t);
  Matrix input_moments(const LinearOp& op) const;
  // Those parts of an op that are targets and not coded yet.
  std::vector<size_t> parts_to_code(const LinearOp& op) const {
    std::vector<size_t> parts;
    for (size_t p = 0; p < op.parts.size(); ++p) {
      const Target* t = target_of_[static_cast<size_t>(op.parts[p].weight)];
      if (t != nullptr && t->runs[0].coded.bytes.empty()) parts.push_back(p);
    }
    return parts;
  }
  Target& target(const LinearOp::Part& part) { return *target_of_[static_cast<size_t>(part.weight)]; }
  Matrix& weight(WeightId id) { return weights_[static_cast<size_t>(id)]; }

  const SourceModel& source_;
  const Statistics& statistics_;
  const CodingOptions& options_;
  ThreadPool& pool_;
  Checkpoint* checkpoint_;
  std::vector<Matrix>& weights_;
  std::vector<Target*> target_of_;  // by WeightId
  std::vector<FloatRun> runs_;      // of the coded model, by window
  int64_t done_ = 0;
};

Status Coder::code(const std::vector<std::span<const int32_t>>& windows,
                   const std::function<void(int64_t)>& progress) {
  for (Target* t : target_of_)
    if (t != nullptr && (t->tokens() || windows.empty())) {
      RETURN_IF_ERROR(code_rows(*t, windows.empty()));
      if (progress) progress(done_);
    }
  if (windows.empty()) return {};
  for (const std::span<const int32_t> window : windows)
    runs_.emplace_back(source_.graph, weights_, pool_).begin(window);
  for (size_t i = 0; i < source_.graph.ops.size(); ++i) {
    const auto* linear = std::get_if<LinearOp>(&source_.graph.ops[i]);
    if (linear != nullptr && linear->parts[0].out == source_.graph.logits) break;
    if (linear != nullptr) {
      RETURN_IF_ERROR(code_linear(*linear));
      if (progress) progress(done_);
    }
    for (FloatRun& run : runs_) run.run_op(i);
  }
  return {};
}

// Whether a run before had coded the target; then its rows are those.
bool Coder::restore(Target& t) {
  if (checkpoint_ == nullptr || !thaw(checkpoint_->load(t.name), t)) return false;
  decode_rows(t);
  ++done_;
  return true;
}

Status Coder::finish(Target& t) {
  decode_rows(t);
  ++done_;
  return checkpoint_ == nullptr ? Status() : checkpoint_->save(t.name, freeze(t));
}

// The weight becomes what the codes say.
void Coder::decode_rows(const Target& t) {
  Matrix& w = weight(t.weight);
  for (const Run& run : t.runs) {
    Matrix rows(run.n_rows, t.n_cols);
    decode(pool_, options_.seed, run.coded, rows);
    for (int64_t i = 0; i < run.n_rows; ++i) w.row(t.row_of(run.first_row + i)) = rows.row(i);
  }
}

// Rows are independent of each other: some at a time.
Status Coder::code_rows(Target& t, bool without_data) {
  if (restore(t)) return {};
  MetricFactor inputs;
  if (without_data) {
    inputs = {Matrix::Identity(t.n_cols, t.n_cols), std::vector<float>(static_cast<size_t>(t.n_cols), 1.0f)};
  } else {
    inputs = factor_inputs(pool_, input_metric(statistics_, t), options_.seed, options_.damping.inputs);
  }
  for (Run& run : t.runs) {
    Matrix rows(run.n_rows, t.n_cols);
    for (int64_t i = 0; i < run.n_rows; ++i) rows.row(i) = weight(t.weight).row(t.row_of(run.first_row + i));
    to_code_space(pool_, options_.seed, rows);
    CodedMatrix coded = prepare_coded(run.coded.bits, rows, 0, rows.rows());
    constexpr int64_t kRows = 256;
    for_items(pool_, (rows.rows() + kRows - 1) / kRows, [&](int64_t i) {
      quantize_rows(inputs, nullptr, i * kRows, std::min(rows.rows(), (i + 1) * kRows), rows, coded);
    });
    run.coded = {coded.bits, coded.scale, pack(coded)};
  }
  return finish(t);
}

// Tokens of the statistics' windows weigh what they weigh there, others 1, the mean.
Matrix Coder::input_moments(const LinearOp& op) const {
  const int64_t n = source_.graph.acts[static_cast<size_t>(op.in)].width;
  Matrix sum = Matrix::Zero(n, n);
  std::vector<float> weights = statistics_.token_weights[static_cast<size_t>(op.parts[0].weight)];
  size_t first = 0;
  for (const FloatRun& run : runs_) {
    const Matrix& x = run.value(op.in);
    const auto rows = static_cast<size_t>(x.rows());
    if (weights.size() < first + rows) weights.resize(first + rows, 1.0f);
    add_gram(pool_, x, std::span(weights).subspan(first, rows), sum);
    first += rows;
  }
  return sum / static_cast<float>(std::max<size_t>(1, first));
}

// Matrices of one input, whose factor is made once: one item each.
Status Coder::code_linear(const LinearOp& op) {
  std::vector<size_t> parts = parts_to_code(op);
  std::erase_if(parts, [&](size_t p) { return restore(target(op.parts[p])); });
  if (parts.empty()) return {};
  const MetricFactor inputs = factor_inputs(pool_, input_moments(op), options_.seed, options_.damping.inputs);
  for (const size_t p : parts) to_code_space(pool_, options_.seed, weight(op.parts[p].weight));
  for_items(pool_, static_cast<int64_t>(parts.size()), [&](int64_t i) {
    const auto id = static_cast<size_t>(op.parts[parts[static_cast<size_t>(i)]].weight);
    Target& t = target(op.parts[parts[static_cast<size_t>(i)]]);
    const MetricFactor outputs = factor_outputs(statistics_.outputs[id], t.order, options_.damping.outputs);
    Matrix rows(t.n_rows, t.n_cols);
    for (int64_t r = 0; r < t.n_rows; ++r) rows.row(r) = weights_[id].row(t.row_of(r));
    for (Run& run : t.runs) {
      CodedMatrix coded = prepare_coded(run.coded.bits, rows, run.first_row, run.n_rows);
      quantize_rows(inputs, &outputs, run.first_row, run.first_row + run.n_rows, rows, coded);
      run.coded = {coded.bits, coded.scale, pack(coded)};
    }
  });
  for (const size_t p : parts) RETURN_IF_ERROR(finish(target(op.parts[p])));
  return {};
}

}  // namespace

Status code_targets(const SourceModel& source, const Statistics& statistics, const CodingOptions& options,
                    const std::vector<std::span<const int32_t>>& windows, ThreadPool& pool,
                    Checkpoint* checkpoint, std::vector<Target>& targets, std::vector<Matrix>& weights,
                    const std::function<void(int64_t)>& progress) {
  return Coder(source, statistics, options, pool, checkpoint, targets, weights).code(windows, progress);
}

}  // namespace nutshell::compress
