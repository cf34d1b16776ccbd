// How much memory a compression takes, told before it starts. L5.
#pragma once

#include "compress/pipeline_options.h"
#include "compress/source.h"

namespace nutshell::compress {

struct MemoryPlan {
  uint64_t weights = 0;      // the source's and the coded ones, f32
  uint64_t statistics = 0;   // second moments of inputs and of gradients
  uint64_t activations = 0;  // of the larger stage: the way back over a window, or all windows of a layer
  uint64_t codes = 0;
  uint64_t total() const { return weights + statistics + activations + codes; }
};

// An upper bound but for what libraries and the allocator need, some MB. windows: of calibration.
MemoryPlan plan_memory(const Graph& graph, const CompressOptions& options, int64_t windows);

}  // namespace nutshell::compress
