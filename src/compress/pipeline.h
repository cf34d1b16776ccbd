// The compressor: a model and a text in, a smaller model out. L5.
//   statistics on the calibration text -> bits per matrix for the size -> coding -> quality on held-out text
//   -> file
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "compress/calibrate.h"
#include "compress/evaluate.h"
#include "compress/source.h"

namespace nutshell::compress {

struct CompressOptions {
  uint64_t size_bytes = 0;      // of the whole file; 0: from bits
  double bits = 0;              // per weight, of the whole file
  int64_t window_tokens = 512;  // of calibration and evaluation
  int64_t windows = 24;         // of calibration
  int64_t held_out = 16;        // windows of evaluation
  uint64_t seed = 1;
  double damp_inputs = 0.01, damp_outputs = 0.03;
};

struct CompressReport {
  uint64_t bytes = 0;
  double bits_per_weight = 0, predicted_kl = 0;
  Comparison quality;
  std::vector<std::pair<std::string, int>> bits;  // of every coded tensor
};

// Stage and share done of it, for progress.
using Progress = std::function<void(const std::string& stage, double done)>;
using WriteBytes = std::function<Status(std::span<const uint8_t>)>;

// calibration, evaluation: token ids; windows are taken from all over them. The first byte is written when
// all else is done. Deterministic for a seed, whatever the pool. Memory: about 12 bytes per weight. Errors:
// invalid_argument (too little text; a size that cannot be reached, naming the smallest that can).
Result<CompressReport> compress(const SourceModel& source, const CompressOptions& options,
                                std::span<const int32_t> calibration, std::span<const int32_t> evaluation,
                                ThreadPool& pool, const WriteBytes& write, const Progress& progress);

}  // namespace nutshell::compress
