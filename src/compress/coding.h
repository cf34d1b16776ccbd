// Codes the targets in the order the model runs them, each for the inputs that the coded matrices before it
// leave it. L5.
//
// With x the original's input of a product and x' the coded model's, over the calibration text, the best
// matrix for x' is not W but the one whose outputs are nearest to W x (and, where the product is added to a
// residual stream h, to W x + h - h'):
//   W' = W + (W E[(x - x') x'^T] + E[(h - h') x'^T]) (E[x' x'^T] + damping)^-1
// W' is what is coded, with E[x' x'^T] as the metric of its columns: errors that later products can see are
// mended there (sequential calibration as in GPTQ, with both inputs as in GPTAQ, arXiv 2504.02692).
#pragma once

#include <functional>

#include "compress/checkpoint.h"
#include "compress/source.h"
#include "compress/targets.h"

namespace nutshell::compress {

struct CodingOptions {
  uint64_t seed = 1;
  Damping damping;
  double damp_shift = 0.05;  // of the inverse above, times the mean of the diagonal; infinite: W' = W
};

// windows: those the statistics were gathered from. weights: the source's; the targets' become the decoded
// ones. Each is taken from the checkpoint or saved there, unless that is null. progress(targets done).
// Deterministic, whatever the pool. Memory: two sets of the activations of one layer per window.
Status code_targets(const SourceModel& source, const Statistics& statistics, const CodingOptions& options,
                    const std::vector<std::span<const int32_t>>& windows, ThreadPool& pool,
                    Checkpoint* checkpoint, std::vector<Target>& targets, std::vector<Matrix>& weights,
                    const std::function<void(int64_t)>& progress);

}  // namespace nutshell::compress
