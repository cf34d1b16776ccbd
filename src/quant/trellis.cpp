#include "quant/trellis.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/half.h"

namespace nutshell {
namespace {

// Trained by alternating Viterbi search and least squares on Gaussian samples, then rounded. The 4-bit code's
// T1 is held to T1[m] = m: nothing is lost (.0074 with a free T1), and a kernel saves a look-up.
constexpr DefaultTrellis kDefaults[] = {
    {{{5, 2, 11, 7, 0, 6, 4, 9, 2, 10, 13, 6, 10, 5, 0, 5},
      {14, 7, 6, 4, 3, 2, 11, 11, 9, 11, 1, 7, 7, 15, 5, 0},
      13,
      0,
      1.0f},
     .1878f,
     .0854f},
    {{{14, 30, 16, 1, 10, 6, 25, 20, 5, 15, 23, 18, 11, 13, 8, 0},
      {27, 19, 10, 12, 15, 25, 19, 16, 21, 10, 13, 23, 0, 30, 7, 20},
      30,
      0,
      1.0f},
     .1099f,
     .0235f},
    {{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
      {48, 20, 12, 35, 17, 6, 38, 29, 14, 27, 22, 9, 32, 0, 24, 41},
      31,
      8,
      1.0f},
     .1005f,
     .0072f},
};

// Where bit b (0 .. 8 K - 1) of a slice's stream lies.
struct Place {
  int64_t byte;
  int bit;
};
Place place_of(int bits, int r, int64_t c, int b) {
  const int64_t slice = c / 32, at = c % 32 / 4 * bits + b;
  return {kTrellisHeadBytes + slice * bits * 64 + at / 8 * 64 + 4 * r + c % 4, static_cast<int>(at % 8)};
}

}  // namespace

const DefaultTrellis& default_trellis(DType dtype) { return kDefaults[trellis_bits(dtype) - 2]; }

bool valid_trellis(DType dtype, const TrellisCode& code) {
  const int max = *std::max_element(code.t1, code.t1 + 16) + *std::max_element(code.t2, code.t2 + 16);
  return max <= trellis_max(dtype) && code.zero <= trellis_max(dtype) && code.start < 16 &&
         std::isfinite(code.scale);
}

int get_symbol(DType dtype, const uint8_t* superrow, int r, int64_t c) {
  const int bits = trellis_bits(dtype);
  int symbol = 0;
  for (int b = 0; b < bits; ++b) {
    const Place p = place_of(bits, r, c, b);
    symbol |= (superrow[p.byte] >> p.bit & 1) << b;
  }
  return symbol;
}

void put_symbol(DType dtype, uint8_t* superrow, int r, int64_t c, int symbol) {
  const int bits = trellis_bits(dtype);
  for (int b = 0; b < bits; ++b) {
    const Place p = place_of(bits, r, c, b);
    superrow[p.byte] = static_cast<uint8_t>(superrow[p.byte] | (symbol >> b & 1) << p.bit);
  }
}

float trellis_row_scale(const TrellisCode& code, const uint8_t* superrow, int r) {
  uint16_t d = 0;
  std::memcpy(&d, superrow + 2 * r, 2);
  return code.scale * f16_to_f32(d);
}

void decode_trellis_row(DType dtype, const TrellisCode& code, const uint8_t* superrow, int r, int64_t n_cols,
                        float* out) {
  const float scale = trellis_row_scale(code, superrow, r);
  const int bits = trellis_bits(dtype);
  int window[4] = {code.start, 0, 0, 0};
  for (int i = 1; i < 4; ++i)  // two steps fill a window
    for (const int64_t c : {n_cols - 9 + i, n_cols - 5 + i})
      window[i] = (window[i] | get_symbol(dtype, superrow, r, c) << 4) >> bits;
  const uint8_t* p = superrow + kTrellisHeadBytes + 4 * r;
  for (int64_t slice = 0; slice < n_cols; slice += 32, p += 64 * bits)
    for (int i = 0; i < 4; ++i) {
      uint32_t word = 0;  // the slice's bits of the stream
      for (int plane = 0; plane < bits; ++plane) word |= uint32_t{p[64 * plane + i]} << 8 * plane;
      int m = window[i];
      for (int t = 0; t < 8; ++t, word >>= bits) {
        const int before = m, symbol = static_cast<int>(word) & ((1 << bits) - 1);
        m = (m | symbol << 4) >> bits;
        out[slice + 4 * t + i] = scale * static_cast<float>(code.t1[before] + code.t2[m] - code.zero);
      }
      window[i] = m;
    }
}

void encode_trellis_row(DType dtype, const TrellisCode& code, float step, std::span<const float> row, int r,
                        uint8_t* superrow) {
  double sum = 0;
  for (const float v : row) sum += static_cast<double>(v) * static_cast<double>(v);
  const double rms = std::sqrt(sum / static_cast<double>(row.size()));
  const uint16_t d = f32_to_f16(static_cast<float>(rms) * step / code.scale);
  std::memcpy(superrow + 2 * r, &d, 2);
  const auto scale = static_cast<double>(trellis_row_scale(code, superrow, r));
  if (scale == 0) return;
  const int bits = trellis_bits(dtype), n_symbols = 1 << bits;
  const size_t n_steps = row.size();  // of the four streams, one after the other
  const auto column = [&](size_t step) { return step % (n_steps / 4) * 4 + step / (n_steps / 4); };
  std::vector<uint8_t> from(n_steps * 16);  // the state before, per step and state
  double cost[16], next[16];
  std::fill(cost, cost + 16, INFINITY);
  cost[code.start] = 0;
  for (size_t t = 0; t < n_steps; ++t) {
    const double target = static_cast<double>(row[column(t)]) / scale + code.zero;
    std::fill(next, next + 16, INFINITY);
    for (int before = 0; before < 16; ++before)
      for (int symbol = 0; symbol < n_symbols; ++symbol) {
        const int m = (before | symbol << 4) >> bits;
        const double e = target - code.t1[before] - code.t2[m], c = cost[before] + e * e;
        if (c < next[m]) {
          next[m] = c;
          from[t * 16 + static_cast<size_t>(m)] = static_cast<uint8_t>(before);
        }
      }
    std::copy(next, next + 16, cost);
  }
  auto m = static_cast<int>(std::min_element(cost, cost + 16) - cost);
  for (size_t t = n_steps; t-- > 0;) {  // the new bits are the window's upper K
    put_symbol(dtype, superrow, r, static_cast<int64_t>(column(t)), m >> (4 - bits));
    m = from[t * 16 + static_cast<size_t>(m)];
  }
}

}  // namespace nutshell
