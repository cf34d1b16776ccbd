// What a trellis-coded matrix needs besides its bytes: the tables its codes index, and which rows lie where.
// L1. The meaning is in src/quant/trellis.h.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/dtype.h"

namespace nutshell {

struct TrellisCode {
  uint8_t t1[16] = {}, t2[16] = {};  // sums stay within trellis_max()
  uint8_t zero = 0;                  // the sum that means zero
  uint8_t start = 0;                 // M_{-1} of stream 0: the window before its first bit
  float scale = 1.0f;                // of the whole run
};

// Rows of one width, up to the next run's first or the matrix's last.
struct TrellisRun {
  DType dtype;
  int64_t first_row = 0;  // of the stored rows; a multiple of kTrellisRows
  TrellisCode code{};
};

// The runs' superrows follow each other. Most matrices are one run in their own order; a token embedding
// gives frequent tokens more bits.
struct TrellisRows {
  std::vector<TrellisRun> runs;
  std::vector<int32_t> order;  // stored row i is the matrix's row order[i]; empty: i

  int64_t end_row(size_t run, int64_t n_rows) const {
    return run + 1 < runs.size() ? runs[run + 1].first_row : n_rows;
  }
};

}  // namespace nutshell
