// A compression as its caller drives it: measure once, then predict and make files of any size. L5.
//
//   analyse(): statistics on the calibration text -> what an error of every row costs (kept, now and then)
//   predict(): bits per matrix for a size -> its divergence, at once
//   make():    coding (kept, target by target) -> healing -> quality on held-out text -> the file's bytes
//
// Without data nothing but the rows' sizes is measured, and no more than one matrix is in memory as f32.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "compress/coded_file.h"
#include "compress/coding.h"
#include "compress/evaluate.h"
#include "compress/memory.h"
#include "compress/pipeline_options.h"
#include "compress/source.h"

namespace nutshell::compress {

struct CompressReport {
  uint64_t bytes = 0;
  double bits_per_weight = 0, predicted_kl = 0;
  Comparison quality;                                // scored == 0: not measured
  std::vector<std::pair<std::string, double>> bits;  // per weight, of every coded tensor
};

struct Prediction {
  double bits_per_weight = 0;
  double kl = 0;  // in nats per token; without data only good for comparing sizes
};

// Steps of one job must not be mixed: those begun last are the ones to go on with.
class CompressJob {
 public:
  using Windows = std::vector<std::span<const int32_t>>;

  // calibration, evaluation: token ids; windows are taken from all over them. All must outlive the job, but
  // source may lack its weights: they are read when they are needed. kept: what was kept under which name
  // before.
  CompressJob(SourceModel& source, const CompressOptions& options, std::span<const int32_t> calibration,
              std::span<const int32_t> evaluation, ThreadPool& pool, KeptBytes kept = {});

  // Before anything else. Errors: invalid_argument (too little text, wishes that contradict each other);
  // out_of_memory (more than options.memory_limit).
  Status check();
  MemoryPlan memory() const;
  // Of a file. make() gives one of at most the bytes asked for.
  uint64_t smallest_bytes() const { return file_bytes(choose_targets(source_.graph)); }
  uint64_t largest_bytes() const;
  // At so many bits per weight.
  uint64_t bytes_at(double bits) const;
  // invalid_argument naming the smallest size.
  Status check_size(uint64_t bytes) const;
  // Of all entries that are kept while a file of so many bytes is made, the most.
  uint64_t kept_bytes(uint64_t bytes) const;

  // Fills the analysis, from where kept entries of the same source, texts and options end. Entries that only
  // measuring needs are dropped at its end.
  Steps analyse();
  bool analysed() const { return analysed_; }
  // Precondition: analysed(). Errors: as check_size().
  Result<Prediction> predict(uint64_t bytes) const;

  // Precondition of these: analysed(). The first byte is written when all else is done; then the entries of
  // coded rows are dropped. Deterministic for a seed, whatever the pool. Errors: as check_size().
  Steps make(uint64_t bytes);
  // The smallest file found whose measured KL divergence is at most that; invalid_argument, naming what can
  // be had, where there is none.
  Steps make_below(double max_kl);
  const CompressReport& report() const { return report_; }

 private:
  struct Try;
  using Clock = std::chrono::steady_clock;
  int64_t n_windows() const { return static_cast<int64_t>(windows_.size()); }
  int64_t window_tokens() const { return std::min(options_.window_tokens, source_.hparams.n_ctx_train); }
  Result<Windows> windows_of(std::span<const int32_t> tokens, int64_t n, const char* what) const;
  size_t take_evenly(Windows& texts) const;
  Steps recall_analysis();
  Steps measure();
  Steps measure_errors();
  Steps keep_measuring();
  Steps keep_analysis();
  Steps recall_moments(bool inputs);
  bool is_time_to_keep() const;
  Steps prepare();
  Steps code(uint64_t bytes);
  Steps write();
  Steps drop_inputs();
  Steps drop_rows();
  Status share(uint64_t bytes, std::vector<Target>& targets, double& predicted_kl) const;
  uint64_t bytes_for(double predicted_kl) const;
  bool is_gathered(const GatheredOf& of) const;
  int64_t moments_width(const GatheredOf& of) const;
  uint64_t file_bytes(const std::vector<Target>& targets) const;
  uint64_t head_bytes() const;
  uint64_t n_weights() const;
  Provenance provenance() const;
  std::map<std::string, const Matrix*> changed_vectors() const;
  void report_sizes(uint64_t asked);

  SourceModel& source_;
  const CompressOptions options_;
  std::vector<int32_t> framed_[2];  // calibration and evaluation of a model whose texts have first tokens
  std::span<const int32_t> calibration_, evaluation_;
  ThreadPool& pool_;
  const KeptBytes kept_;
  Windows texts_, windows_, held_out_;  // texts: the windows, and more for the moments of inputs
  bool analysed_ = false;
  uint64_t mark_ = 0;  // of the analysis
  Clock::time_point kept_at_;
  std::chrono::duration<double> keeping_took_{};
  Analysis analysis_;
  CodingOptions coding_;
  std::vector<Target> targets_;
  std::vector<Matrix> after_;
  CompressReport report_;
};

}  // namespace nutshell::compress
