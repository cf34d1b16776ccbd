// How much memory a compression takes, told before it starts. L5.
#pragma once

#include "compress/pipeline_options.h"
#include "compress/source.h"

namespace nutshell::compress {

// Of the stage that takes most.
struct MemoryPlan {
  uint64_t weights = 0;     // as f32: the source's, later the coded ones beside them; without data one matrix
  uint64_t statistics = 0;  // second moments of inputs and of gradients, and factors of them
  uint64_t activations = 0;  // the way back over a window, all windows at one product, or two runs
  uint64_t codes = 0;
  uint64_t total() const { return weights + statistics + activations + codes; }
};

// An upper bound but for what libraries and the allocator need, some MB. windows: of calibration.
MemoryPlan plan_memory(const Graph& graph, const CompressOptions& options, int64_t windows);

}  // namespace nutshell::compress
