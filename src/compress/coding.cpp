#include "compress/coding.h"

#include <algorithm>

#include "compress/items.h"

namespace nutshell::compress {
namespace {

class Coder {
 public:
  Coder(const SourceModel& source, const CodingOptions& options, ThreadPool& pool,
        std::vector<Target>& targets)
      : source_(source), options_(options), pool_(pool), targets_(targets) {
    for (const Target& t : targets) all_ += t.n_rows * t.n_cols;
  }

  Steps code(const Statistics& statistics, std::vector<std::span<const int32_t>> windows,
             std::vector<Matrix>& weights);
  Steps code_without_data();

 private:
  Steps code_table(Target& t, const Statistics& statistics, Matrix& weight);
  Steps code_linear(const LinearOp& op, const Statistics& statistics, std::vector<Matrix>& weights);
  template <typename Read>
  Steps code_run(const Target& t, Run& run, const MetricFactor& inputs, Read& read);
  Steps restore(Target& t);
  Steps finish(const Target& t);
  void decode_rows(const Target& t, Matrix& weight);
  Moments input_moments(const LinearOp& op, const Statistics& statistics) const;
  Target* target_of(WeightId id) {
    const auto it =
        std::find_if(targets_.begin(), targets_.end(), [&](const Target& t) { return t.weight == id; });
    return it == targets_.end() ? nullptr : &*it;
  }
  Target& target(const LinearOp::Part& part) { return *target_of(part.weight); }
  // Whether all threads on one matrix after the other end sooner than a thread for each matrix.
  bool together(const LinearOp& op, const std::vector<size_t>& parts) {
    double largest = 0, all = 0;
    for (const size_t p : parts) {
      const auto rows = static_cast<double>(target(op.parts[p]).n_rows);
      all += rows;
      largest = std::max(largest, rows);
    }
    const int n = pool_.n_threads();
    return all / quantize_speedup(n) < std::max(largest, all / n);
  }
  static bool is_coded(const Target& t) { return !t.runs[0].coded.bytes.empty(); }
  // Those parts of an op that are targets and not coded yet.
  std::vector<size_t> parts_to_code(const LinearOp& op) {
    std::vector<size_t> parts;
    for (size_t p = 0; p < op.parts.size(); ++p)
      if (const Target* t = target_of(op.parts[p].weight); t != nullptr && !is_coded(*t)) parts.push_back(p);
    return parts;
  }
  JobStep progress() const { return worked(Stage::coding, done_, all_); }

  const SourceModel& source_;
  const CodingOptions& options_;
  ThreadPool& pool_;
  std::vector<Target>& targets_;
  std::vector<FloatRun> runs_;  // of the coded model, by window
  int64_t done_ = 0, all_ = 0;  // values
};

Steps Coder::code(const Statistics& statistics, std::vector<std::span<const int32_t>> windows,
                  std::vector<Matrix>& weights) {
  for (Target& t : targets_)
    if (t.tokens() || t.positions)
      RUN_STEPS(code_table(t, statistics, weights[static_cast<size_t>(t.weight)]));
  for (const std::span<const int32_t> window : windows)
    runs_.emplace_back(source_.graph, weights, pool_).begin(window);
  for (size_t i = 0; i < source_.graph.ops.size(); ++i) {
    const auto* linear = std::get_if<LinearOp>(&source_.graph.ops[i]);
    if (linear != nullptr && linear->parts[0].out == source_.graph.logits) break;
    if (linear != nullptr) RUN_STEPS(code_linear(*linear, statistics, weights));
    for (FloatRun& run : runs_) run.run_op(i);
    if (linear != nullptr) co_yield progress();
  }
  co_return Status();
}

Steps Coder::code_without_data() {
  for (Target& t : targets_) {
    RUN_STEPS(restore(t));
    if (is_coded(t)) continue;
    const MetricFactor identity{0, {}, std::vector<float>(static_cast<size_t>(t.n_cols), 1.0f)};
    for (Run& run : t.runs) {
      const auto read = [&](int64_t first, int64_t n, Matrix& rows) {
        std::vector<int32_t> wanted(static_cast<size_t>(n));
        for (size_t i = 0; i < wanted.size(); ++i)
          wanted[i] = static_cast<int32_t>(t.row_of(run.first_row + first + static_cast<int64_t>(i)));
        return read_weight_rows(source_, t.weight, std::move(wanted), rows);
      };
      RUN_STEPS(code_run(t, run, identity, read));
    }
    RUN_STEPS(finish(t));
  }
  co_return Status();
}

// Whether a run before had coded the target; then its rows are those.
Steps Coder::restore(Target& t) {
  const std::string name = rows_entry(t.name);
  std::vector<uint8_t> bytes(rows_bytes(t));
  if (!options_.kept || options_.kept(name) != bytes.size()) co_return Status();
  co_yield recall_into(name, bytes);
  if (thaw(bytes, options_.mark, t)) {
    done_ += t.n_rows * t.n_cols;
    co_yield progress();
  }
  co_return Status();
}

Steps Coder::finish(const Target& t) {
  const std::string name = rows_entry(t.name);
  const std::vector<uint8_t> bytes = freeze(options_.mark, t);
  co_yield keep_bytes(name, bytes);
  co_yield progress();
  co_return Status();
}

// The weight becomes what the codes say.
void Coder::decode_rows(const Target& t, Matrix& weight) {
  constexpr int64_t kRows = 4096;
  for (const Run& run : t.runs)
    for (int64_t first = 0; first < run.n_rows; first += kRows) {
      Matrix rows(std::min(kRows, run.n_rows - first), t.n_cols);
      decode(pool_, options_.seed, run.coded, first, rows);
      for (int64_t i = 0; i < rows.rows(); ++i) weight.row(t.row_of(run.first_row + first + i)) = rows.row(i);
    }
}

// Rows of a run, which are independent of each other: some thousands at a time, twice. First the largest is
// looked for, whose size is the run's scale. read(first, n, rows) fills rows with those of the run.
template <typename Read>
Steps Coder::code_run(const Target& t, Run& run, const MetricFactor& inputs, Read& read) {
  constexpr int64_t kRows = 256, kValues = 4 << 20;
  const int64_t at_once = std::max<int64_t>(1, kValues / (kRows * t.n_cols)) * kRows;
  Matrix rows;
  float largest = 0;
  CodedMatrix coded;
  for (const bool codes : {false, true}) {
    if (codes) coded = prepare_coded(run.coded.bits, largest, run.n_rows, t.n_cols);
    for (int64_t first = 0; first < run.n_rows; first += at_once) {
      const int64_t n = std::min(run.n_rows - first, at_once);
      RUN_STEPS(read(first, n, rows));
      if (t.rotated)
        to_code_space(pool_, options_.seed, rows);
      else
        to_code_order(pool_, rows);
      if (!codes) {
        largest = std::max(largest, rows.rowwise().squaredNorm().maxCoeff());
        continue;
      }
      coded.first_row = -first;  // rows begin there
      for_items(pool_, (n + kRows - 1) / kRows, [&](int64_t i) {
        quantize_rows(inputs, nullptr, i * kRows, std::min(n, (i + 1) * kRows), rows, coded);
      });
      done_ += n * t.n_cols;
      co_yield progress();
    }
  }
  run.coded = {coded.bits, coded.scale, pack(coded)};
  co_return Status();
}

Steps Coder::code_table(Target& t, const Statistics& statistics, Matrix& weight) {
  RUN_STEPS(restore(t));
  if (!is_coded(t)) {
    const MetricFactor inputs =
        factor_inputs(pool_, input_metric(statistics, t), options_.seed, options_.damping.inputs);
    for (Run& run : t.runs) {
      const auto read = [&](int64_t first, int64_t n, Matrix& rows) -> Steps {
        rows.resize(n, t.n_cols);
        for (int64_t i = 0; i < n; ++i) rows.row(i) = weight.row(t.row_of(run.first_row + first + i));
        co_return Status();
      };
      RUN_STEPS(code_run(t, run, inputs, read));
    }
    RUN_STEPS(finish(t));
  }
  decode_rows(t, weight);
  co_return Status();
}

// Tokens of the statistics' windows weigh what they weigh there, others 1, the mean.
Moments Coder::input_moments(const LinearOp& op, const Statistics& statistics) const {
  const int64_t n = source_.graph.acts[static_cast<size_t>(op.in)].width;
  Moments sum = zero_moments(n, options_.most_moments);
  std::vector<float> weights = statistics.token_weights[static_cast<size_t>(op.parts[0].weight)];
  size_t first = 0;
  for (const FloatRun& run : runs_) {
    const Matrix& x = run.value(op.in);
    const auto rows = static_cast<size_t>(x.rows());
    if (weights.size() < first + rows) weights.resize(first + rows, 1.0f);
    add_inputs(pool_, x, std::span(weights).subspan(first, rows), options_.seed, sum);
    first += rows;
  }
  sum *= 1.0f / static_cast<float>(std::max<size_t>(1, first));
  return sum;
}

// Matrices of one input, whose factor is made once.
Steps Coder::code_linear(const LinearOp& op, const Statistics& statistics, std::vector<Matrix>& weights) {
  const auto weight = [&](size_t part) -> Matrix& {
    return weights[static_cast<size_t>(op.parts[part].weight)];
  };
  for (const size_t p : parts_to_code(op)) {
    RUN_STEPS(restore(target(op.parts[p])));
    if (is_coded(target(op.parts[p]))) decode_rows(target(op.parts[p]), weight(p));
  }
  const std::vector<size_t> parts = parts_to_code(op);
  if (parts.empty()) co_return Status();
  const MetricFactor inputs =
      factor_inputs(pool_, input_moments(op, statistics), options_.seed, options_.damping.inputs);
  for (const size_t p : parts) to_code_space(pool_, options_.seed, weight(p));
  const auto code_part = [&](size_t p, ThreadPool* pool) {
    const auto id = static_cast<size_t>(op.parts[p].weight);
    Target& t = target(op.parts[p]);
    const RowFactor outputs =
        factor_outputs(statistics.outputs[id].moments, t.order, options_.damping.outputs);
    Matrix rows(t.n_rows, t.n_cols);
    for (int64_t r = 0; r < t.n_rows; ++r) rows.row(r) = weights[id].row(t.row_of(r));
    for (Run& run : t.runs) {
      CodedMatrix coded = prepare_coded(run.coded.bits, rows, run.first_row, run.n_rows);
      quantize_rows(inputs, &outputs, run.first_row, run.first_row + run.n_rows, rows, coded, pool);
      run.coded = {coded.bits, coded.scale, pack(coded)};
    }
  };
  if (together(op, parts)) {
    for (const size_t p : parts) code_part(p, &pool_);
  } else {
    for_items(pool_, static_cast<int64_t>(parts.size()),
              [&](int64_t i) { code_part(parts[static_cast<size_t>(i)], nullptr); });
  }
  for (const size_t p : parts) {
    decode_rows(target(op.parts[p]), weight(p));
    done_ += weight(p).size();
    RUN_STEPS(finish(target(op.parts[p])));
  }
  co_return Status();
}

}  // namespace

Steps code_targets(const SourceModel& source, const Statistics& statistics, const CodingOptions& options,
                   std::vector<std::span<const int32_t>> windows, ThreadPool& pool,
                   std::vector<Target>& targets, std::vector<Matrix>& weights) {
  Coder coder(source, options, pool, targets);
  RUN_STEPS(coder.code(statistics, std::move(windows), weights));
  co_return Status();
}

Steps code_without_data(const SourceModel& source, const CodingOptions& options, ThreadPool& pool,
                        std::vector<Target>& targets) {
  Coder coder(source, options, pool, targets);
  RUN_STEPS(coder.code_without_data());
  co_return Status();
}

}  // namespace nutshell::compress
