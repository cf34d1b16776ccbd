// One matrix into the trellis code: rotation, feedback in both directions, scales. L5.
//
// The error E = W - Q is measured as tr(A E B E^T): B [n_in, n_in] from the inputs, A [n_out, n_out] from the
// gradients at the outputs (the Kronecker-factored Fisher information of the whole model's KL divergence;
// YAQA, arXiv 2505.22988, with A the identity it is GPTQ / LDLQ). With A = M_A D_A M_A^T and B likewise (M
// unit upper triangular) the sum is over entries D_A D_B (M_A^T E M_B)^2, so rows are coded one after the
// other, each aiming at what the errors before it leave to aim at.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "compress/moments.h"

namespace nutshell::compress {

// Rows [first_row, first_row + n_rows) of a matrix.
struct CodedMatrix {
  int bits = 0;
  int64_t first_row = 0, n_rows = 0, n_cols = 0;
  std::vector<uint8_t> codes;        // [n_rows][n_cols] in stream order
  std::vector<uint16_t> row_scales;  // f16
  float scale = 1.0f;                // of the whole matrix; value = scale * row scale * (T1 + T2 - zero)
};

// Rows [begin, end) of rotated: rotated columns in stream order. They become their errors: with outputs,
// those of the rows before begin are what its rows aim to make up for. Without (null) rows do not see each
// other. coded, fresh from prepare_coded, gets its rows. pool: what a row is tried with is shared out, three
// threads at most have work; null: the calling thread alone, so that matrices (or, without outputs, ranges of
// rows) can be coded at the same time. The same bits either way.
void quantize_rows(const MetricFactor& inputs, const RowFactor* outputs, int64_t begin, int64_t end,
                   Matrix& rotated, CodedMatrix& coded, ThreadPool* pool = nullptr);
// How many threads' work quantize_rows does with so many.
double quantize_speedup(int n_threads);

// Squared error of quantize_rows in the metric, for rows of unit variance.
double coding_error(int bits);

// W in the order that quantize_rows works in; in that order and its basis.
void to_code_order(ThreadPool& pool, Matrix& w);
void to_code_space(ThreadPool& pool, uint64_t seed, Matrix& w);

// Ready for quantize_rows of n rows; largest: the most that the squared size of a row is. The same of rows
// [first, first + n) of w (in code space).
CodedMatrix prepare_coded(int bits, float largest, int64_t n_rows, int64_t n_cols);
CodedMatrix prepare_coded(int bits, const Matrix& w, int64_t first, int64_t n);

// Superrows of 16 rows as in a file (rows beyond the last have scale 0).
std::vector<uint8_t> pack(const CodedMatrix& coded);

// Rows of a matrix as a file holds them.
struct CodedRows {
  int bits = 0;
  float scale = 1.0f;
  std::vector<uint8_t> bytes;  // as pack() makes them; empty: not coded yet
};
// As f32, in their own basis. rows: [n, n_cols], those from `first` on, a multiple of 16.
void decode(ThreadPool& pool, uint64_t seed, const CodedRows& coded, int64_t first, Matrix& rows);

}  // namespace nutshell::compress
