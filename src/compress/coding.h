// Codes the targets. With calibration: in the order the model runs them, the columns of each measured with
// the inputs that the coded matrices before it leave it (sequential calibration, as in GPTQ, arXiv
// 2210.17323). L5.
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

// Bytes that were kept under a name before; 0: none.
using KeptBytes = std::function<uint64_t(const std::string&)>;

struct CodingOptions {
  uint64_t seed = 1;
  int64_t most_moments = 2048;  // CompressOptions
  Damping damping;
  uint64_t mark = 0;  // of kept rows
  KeptBytes kept;
};

// options must outlive the steps. windows: those the statistics were gathered from come first. weights: the
// source's; the targets' become the decoded ones. Kept rows are recalled instead of coded. Deterministic,
// whatever the pool. Memory: the activations of one layer per window.
Steps code_targets(const SourceModel& source, const Statistics& statistics, const CodingOptions& options,
                   std::vector<std::span<const int32_t>> windows, ThreadPool& pool,
                   std::vector<Target>& targets, std::vector<Matrix>& weights);

// The same without data: the identity stands for both metrics. Values are read one run of rows at a time and
// not kept.
Steps code_without_data(const SourceModel& source, const CodingOptions& options, ThreadPool& pool,
                        std::vector<Target>& targets);

}  // namespace nutshell::compress
