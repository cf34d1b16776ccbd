// The matrices to be coded, what their errors cost, and how many bits each row gets. L5. Rows are ordered by
// what they cost and shared out in groups: frequent tokens, and outputs that matter, get more bits.
#pragma once

#include <string>
#include <vector>

#include "compress/allocate.h"
#include "compress/calibrate.h"
#include "compress/quantize.h"

namespace nutshell::compress {

// Rows of one width; first_row counts stored rows. coded.bits is set before they are coded.
struct Run {
  int64_t first_row = 0, n_rows = 0;
  CodedRows coded;
};

struct Target {
  WeightId weight;  // of several parts of a tensor the first
  std::string name;
  int64_t n_rows, n_cols;
  bool table = false, head = false;  // rows are tokens
  bool positions = false;            // rows are looked up, but are no tokens
  bool several = false;              // matrices in one tensor: one width, and rows keep their order
  bool rotated = true;
  std::vector<int32_t> order;  // stored row i is row order[i]; empty: i
  std::vector<Run> runs;

  bool tokens() const { return table || head; }
  int64_t row_of(int64_t stored) const { return order.empty() ? stored : order[static_cast<size_t>(stored)]; }
  // Bytes of n rows at a width.
  uint64_t bytes(int bits, int64_t n) const {
    return static_cast<uint64_t>((n + kTrellisRows - 1) / kTrellisRows * (32 + 2 * bits * n_cols));
  }
  uint64_t bytes() const {
    uint64_t total = 0;
    for (const Run& run : runs) total += bytes(run.coded.bits, run.n_rows);
    return total;
  }
  double mean_bits() const;
};

// Every matrix of the graph that the code can hold, each one run of the fewest bits. Those that choose
// experts are left alone: they are small, and a wrong choice is a large error.
std::vector<Target> choose_targets(const Graph& graph);

// Whether all have the most bits: no file can be larger.
bool at_most_bits(const std::vector<Target>& targets);

// The second moments that the columns of a target are measured with.
Moments input_metric(const Statistics& statistics, const Target& target);

struct Damping {
  double inputs = 0.01, outputs = 0.03;  // times the mean of the diagonal
};

// KL per token of coding each row of a target with an error of 1 per unit of variance. w: its values.
std::vector<double> row_errors(const Target& target, const Matrix& w, const Statistics& statistics,
                               const Damping& damping);
// Errors that know nothing of the model's inputs: the squared size of the matrix, evenly over its rows.
std::vector<double> even_errors(const Target& target, const Matrix& w);

// Gives every target its order and runs: the least predicted KL with all of them in `limit` bytes (which the
// fewest bits must fit). errors: of row_errors() or even_errors(), by target. Answers the prediction, in nats
// per token.
double share_bits(std::vector<Target>& targets, const std::vector<std::vector<double>>& errors,
                  uint64_t limit);

}  // namespace nutshell::compress
