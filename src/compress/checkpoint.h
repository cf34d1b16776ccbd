// What a run leaves behind while it works, as named entries (JobStep::keep): the measuring once, and every
// coded target. L5. Each entry begins with a mark of what it was made from; what carries another mark, or is
// damaged, counts as not there.
#pragma once

#include <string>

#include "compress/pipeline_options.h"
#include "compress/source.h"
#include "compress/targets.h"

namespace nutshell::compress {

// What the measuring gave: enough to share out bits for any size, and to code.
struct Analysis {
  Statistics statistics;                    // without `inputs`
  std::vector<std::vector<double>> errors;  // by target and row: row_errors() or even_errors()
};

// source: mark_source(). The mark of an analysis; that of a file of some size made from it follows.
uint64_t mark_analysis(uint64_t source, const CompressOptions& options, std::span<const int32_t> calibration);
uint64_t mark_size(uint64_t analysis, uint64_t bytes);

// All but the second moments of gradients, which have entries of their own.
inline constexpr std::string_view kAnalysisEntry = "analysis";
std::vector<uint8_t> freeze(uint64_t mark, const Analysis& analysis);
// False when the bytes are no analysis of that mark and these targets; then nothing is changed.
bool thaw(std::span<const uint8_t> bytes, uint64_t mark, const Graph& graph,
          const std::vector<Target>& targets, Analysis& analysis);

// Of each block its lower triangle. shape: Moments of the expected shape.
std::string moments_entry(const std::string& weight);
uint64_t moments_bytes(int64_t n, int64_t most);
std::vector<uint8_t> freeze(uint64_t mark, const Moments& moments);
bool thaw(std::span<const uint8_t> bytes, uint64_t mark, const Moments& shape, Moments& moments);

// A target's coded rows; its runs are known.
std::string rows_entry(const std::string& weight);
uint64_t rows_bytes(const Target& target);
std::vector<uint8_t> freeze(uint64_t mark, const Target& target);
bool thaw(std::span<const uint8_t> bytes, uint64_t mark, Target& target);

}  // namespace nutshell::compress
