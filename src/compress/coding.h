// Codes the targets in the order the model runs them, the columns of each measured with the inputs that the
// coded matrices before it leave it (sequential calibration, as in GPTQ, arXiv 2210.17323). L5.
//
// Inputs are had by running forwards only, so they come from more text than the gradients: the moments of
// 1536 columns want many times 1536 tokens. (SmolLM2 at 53 MB with 4,096 tokens for both: KL .298; with
// 12,288, before tokens had widths of their own: .247.)
#pragma once

#include <functional>

#include "compress/checkpoint.h"
#include "compress/source.h"
#include "compress/targets.h"

namespace nutshell::compress {

struct CodingOptions {
  uint64_t seed = 1;
  Damping damping;
};

// windows: those the statistics were gathered from come first. weights: the source's; the targets' become the
// decoded ones. Each is taken from the checkpoint or saved there, unless that is null. progress(targets
// done). Deterministic, whatever the pool. Memory: the activations of one layer per window.
Status code_targets(const SourceModel& source, const Statistics& statistics, const CodingOptions& options,
                    const std::vector<std::span<const int32_t>>& windows, ThreadPool& pool,
                    Checkpoint* checkpoint, std::vector<Target>& targets, std::vector<Matrix>& weights,
                    const std::function<void(int64_t)>& progress);

}  // namespace nutshell::compress
