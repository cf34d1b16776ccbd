// What a compression is asked for. L5.
#pragma once

#include <cstdint>

namespace nutshell::compress {

inline constexpr int64_t kInputWindows = 2;

// Changes whenever equal models, texts and options give another file than before.
inline constexpr const char* kRecipeVersion = "4";

struct CompressOptions {
  uint64_t size_bytes = 0;      // of the whole file; 0: from bits
  double bits = 0;              // per weight, of the whole file
  double max_kl = 0;            // instead of a size: the smallest file found that stays below, measured
  bool data_free = false;       // no calibration: every input and output of a matrix counts alike
  int64_t window_tokens = 512;  // of calibration and evaluation
  int64_t windows = 36;   // of calibration: of gradients; inputs are taken from kInputWindows times as many
  int64_t held_out = 16;  // windows of evaluation; 0: nothing is measured
  uint64_t seed = 1;
  double damp_inputs = 0.01, damp_outputs = 0.03;  // times the mean of the diagonal
  int64_t most_moments = 2048;  // values of vectors whose second moments are one block (moments.h)
  double heal_minutes = 0;      // heal.h
  double keep_seconds = 30;     // of measuring that a stop may cost, about
  uint64_t memory_limit = 0;    // bytes; 0: none
};

}  // namespace nutshell::compress
