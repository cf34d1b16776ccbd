// The compressor: a model and a text in, a smaller model out. L5.
//   statistics on the calibration text -> bits per matrix for the size -> coding -> healing -> quality on
//   held-out text -> file
#pragma once

#include <string>
#include <vector>

#include "compress/checkpoint.h"
#include "compress/evaluate.h"
#include "compress/io.h"
#include "compress/pipeline_options.h"
#include "compress/source.h"

namespace nutshell::compress {

struct CompressReport {
  uint64_t bytes = 0;
  double bits_per_weight = 0, predicted_kl = 0;
  Comparison quality;
  std::vector<std::pair<std::string, double>> bits;  // per weight, of every coded tensor
};

// calibration, evaluation: token ids; windows are taken from all over them. The first byte is written when
// all else is done. Deterministic for a seed, whatever the pool. checkpoint: where a killed run of the same
// source, texts and options left what it had, and this one does; may be null. Memory: memory.h. Errors:
// invalid_argument (too little text; a size or a KL divergence that cannot be reached, naming what can;
// healing without data); out_of_memory (more than options.memory_limit), before anything is done.
Result<CompressReport> compress(const SourceModel& source, const CompressOptions& options,
                                std::span<const int32_t> calibration, std::span<const int32_t> evaluation,
                                ThreadPool& pool, const WriteBytes& write, const Progress& progress,
                                Checkpoint* checkpoint = nullptr);

}  // namespace nutshell::compress
