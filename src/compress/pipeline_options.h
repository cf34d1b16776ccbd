// What a compression is asked for. L5.
#pragma once

#include <cstdint>

namespace nutshell::compress {

inline constexpr int64_t kInputWindows = 3;

struct CompressOptions {
  uint64_t size_bytes = 0;      // of the whole file; 0: from bits
  double bits = 0;              // per weight, of the whole file
  int64_t window_tokens = 512;  // of calibration and evaluation
  int64_t windows = 24;   // of calibration: of gradients; inputs are taken from kInputWindows times as many
  int64_t held_out = 16;  // windows of evaluation
  uint64_t seed = 1;
  double damp_inputs = 0.01, damp_outputs = 0.03;  // times the mean of the diagonal
  double heal_minutes = 0;                         // heal.h
  uint64_t memory_limit = 0;                       // bytes; 0: none
};

}  // namespace nutshell::compress
