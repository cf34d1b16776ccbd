// Random trellis-coded matrices: random bytes under random row scales; and whole-matrix encoding for tests.
#pragma once

#include <cstring>
#include <vector>

#include "base/half.h"
#include "base/rng.h"
#include "quant/trellis.h"

namespace nutshell::test {

struct TrellisMatrix {
  DType dtype;
  int64_t n_rows, n_cols;
  TrellisCode code;
  std::vector<uint8_t> bytes;  // as in a file, rows padded to 16
  std::vector<float> values;   // decoded
};

inline void decode_matrix(TrellisMatrix& m) {
  m.values.resize(static_cast<size_t>(m.n_rows * m.n_cols));
  for (int64_t r = 0; r < m.n_rows; ++r)
    decode_trellis_row(m.dtype, m.code, m.bytes.data() + r / 16 * trellis_superrow_bytes(m.dtype, m.n_cols),
                       static_cast<int>(r % 16), m.n_cols, m.values.data() + r * m.n_cols);
}

inline TrellisMatrix random_trellis(DType dtype, int64_t n_rows, int64_t n_cols, uint64_t seed,
                                    double magnitude) {
  TrellisMatrix m{dtype, n_rows, n_cols, default_trellis(dtype).code, {}, {}};
  for (uint64_t i = 0; i < 16; ++i) {  // other tables than the default, up to the largest sum
    m.code.t1[i] =
        static_cast<uint8_t>(counter_rng(seed, i) % static_cast<uint64_t>(trellis_max(dtype) / 2 + 1));
    m.code.t2[i] =
        static_cast<uint8_t>(counter_rng(seed, 16 + i) % static_cast<uint64_t>(trellis_max(dtype) / 2 + 1));
  }
  m.code.t1[3] = static_cast<uint8_t>(trellis_max(dtype) / 2);
  m.code.t2[5] = static_cast<uint8_t>(trellis_max(dtype) - trellis_max(dtype) / 2);
  m.code.start = static_cast<uint8_t>(seed % 16);
  m.code.scale = 0.25f;
  const int64_t stored = stored_rows(dtype, n_rows), one = trellis_superrow_bytes(dtype, n_cols);
  m.bytes.resize(static_cast<size_t>(stored / 16 * one));
  for (size_t i = 0; i < m.bytes.size(); ++i) m.bytes[i] = static_cast<uint8_t>(counter_rng(seed + 1, i));
  for (int64_t r = 0; r < stored; ++r) {
    const double d = 0.1 * magnitude * static_cast<double>(uniform_pm1(seed + 2, static_cast<uint64_t>(r)));
    const uint16_t h = r < n_rows ? f32_to_f16(static_cast<float>(d)) : uint16_t{0};
    std::memcpy(m.bytes.data() + r / 16 * one + 2 * (r % 16), &h, 2);
  }
  decode_matrix(m);
  return m;
}

// Encodes values (n_rows x n_cols) with the default tables.
inline TrellisMatrix encode_trellis(DType dtype, const std::vector<float>& values, int64_t n_rows,
                                    int64_t n_cols) {
  const DefaultTrellis& standard = default_trellis(dtype);
  TrellisMatrix m{dtype, n_rows, n_cols, standard.code, {}, {}};
  const int64_t one = trellis_superrow_bytes(dtype, n_cols);
  m.bytes.assign(static_cast<size_t>(stored_rows(dtype, n_rows) / 16 * one), 0);
  for (int64_t r = 0; r < n_rows; ++r)
    encode_trellis_row(dtype, m.code, standard.step,
                       {values.data() + r * n_cols, static_cast<size_t>(n_cols)}, static_cast<int>(r % 16),
                       m.bytes.data() + r / 16 * one);
  decode_matrix(m);
  return m;
}

}  // namespace nutshell::test
