// What a run leaves behind while it works, as named entries (JobStep::keep): the measuring as far as it is,
// and every coded target. L5. Each entry begins with a mark of what it was made from; what carries another
// mark, or is damaged, counts as not there.
#pragma once

#include <string>

#include "compress/pipeline_options.h"
#include "compress/source.h"
#include "compress/targets.h"

namespace nutshell::compress {

// What the measuring gives: enough to share out bits for any size, and to code.
struct Analysis {
  Statistics statistics;
  std::vector<std::vector<double>> errors;  // by target and row: row_errors(), even_errors(), or none yet
};
Analysis no_analysis(const Graph& graph, const std::vector<Target>& targets);

// source: mark_source(). The mark of an analysis; that of a file of some size made from it follows.
uint64_t mark_analysis(uint64_t source, const CompressOptions& options, std::span<const int32_t> calibration);
uint64_t mark_size(uint64_t analysis, uint64_t bytes);

// All but the second moments of matrices, which have entries of their own. windows: of the calibration.
inline constexpr std::string_view kAnalysisEntry = "analysis";
std::vector<uint8_t> freeze(uint64_t mark, const Analysis& analysis);
// False when the bytes are no analysis of that mark and these targets; then nothing is changed. What
// analysis has of moments stays.
bool thaw(std::span<const uint8_t> bytes, uint64_t mark, const Graph& graph,
          const std::vector<Target>& targets, int64_t windows, Analysis& analysis);

// The entry of moments: of each block the sums and the lower triangle.
std::string moments_entry(const Graph& graph, const GatheredOf& of);
uint64_t moments_bytes(int64_t n, int64_t most);
std::vector<uint8_t> freeze(uint64_t mark, const Gathered& gathered);
// Precondition: bytes.size() == moments_bytes(n, most).
bool thaw(std::span<const uint8_t> bytes, uint64_t mark, int64_t n, int64_t most, int64_t windows,
          Gathered& gathered);

// A target's coded rows; its runs are known.
std::string rows_entry(const std::string& weight);
uint64_t rows_bytes(const Target& target);
std::vector<uint8_t> freeze(uint64_t mark, const Target& target);
bool thaw(std::span<const uint8_t> bytes, uint64_t mark, Target& target);

}  // namespace nutshell::compress
