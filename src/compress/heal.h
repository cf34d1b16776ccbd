// Healing: what coding broke between the matrices, mended in the numbers that cost no bits. L5. Gradient
// descent (Adam) on the KL divergence from the original's logits over calibration text; the codes stay, the
// row scales and the vectors (norms, biases) move.
//
// The tables of the code do not: they are where they should be. For all 670 coded runs of SmolLM2 (53 MB,
// four calibration windows, every eighth row) the best tables in the metric the codes were chosen in were
// solved for by least squares. Free real entries would take 0.1 to 1.7 % off the error (means by width; the
// more the fewer rows there are to fit), none of them more than 0.6 away from the integer it is, most less
// than 0.1; no change of one or two entries by one lowers it at all, and kernels want integers.
#pragma once

#include "compress/source.h"
#include "compress/targets.h"

namespace nutshell::compress {

inline constexpr int64_t kHealTokens = 256;  // of a step

// Steps that so many minutes pay for on a machine of 40 GFLOP/s: a count, so that equal inputs give equal
// files.
int64_t heal_steps(const SourceModel& source, double minutes);

// Whether a vector of the graph may get other values: it is stored as plain f32.
bool can_change(const SourceModel& source, WeightId id);

// weights: the decoded targets, and the other weights; changed in place, with the row scales of the targets'
// codes (which stay f16). windows: at least one, of at most the trained length. Deterministic, whatever the
// pool. Precondition: the source's weights are read.
Steps heal(const SourceModel& source, std::vector<std::span<const int32_t>> windows, int64_t steps,
           ThreadPool& pool, std::vector<Target>& targets, std::vector<Matrix>& weights);

}  // namespace nutshell::compress
