// Quality of coded weights while they are still in the compressor's hands, with 8-bit activations as at run
// time. L5.
#pragma once

#include <span>
#include <vector>

#include "compress/float_run.h"
#include "compress/steps.h"
#include "engine/quality.h"
#include "model/hparams.h"

namespace nutshell::compress {

struct Comparison {
  double perplexity_before = 0, perplexity_after = 0, mean_kl = 0, top1_agreement = 0;
  double mean_cosine = 0;  // of an embedding model, instead: of the vectors of a text before and after
  int64_t scored = 0;      // tokens; texts
};

// A step per window; fills total. coded[i]: weight i is in the code, so its input is rotated before it is
// rounded to 8 bits.
Steps compare(const Graph& graph, const std::vector<Matrix>& before, const std::vector<Matrix>& after,
              std::vector<bool> coded, uint64_t rotation_seed, std::vector<std::span<const int32_t>> windows,
              Pooling pooling, ThreadPool& pool, Comparison& total);

}  // namespace nutshell::compress
