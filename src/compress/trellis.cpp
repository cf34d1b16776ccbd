#include "compress/trellis.h"

#include <cstring>

#include "compress/avx2.h"
#include "compress/product.h"

namespace nutshell::compress {
namespace {

constexpr int64_t kBlock = kTrellisBlock, kAhead = kTrellisAhead;
constexpr int64_t kWidth = kBlock + kAhead;

template <int N>
struct Lanes {
  typedef float Float __attribute__((vector_size(4 * N)));
  typedef int Int __attribute__((vector_size(4 * N)));
};
using Float8 = Lanes<8>::Float;

}  // namespace

TrellisEncoder::TrellisEncoder(int bits, const MetricFactor& metric)
    : bits_(bits),
      tables_(default_trellis(trellis_type(bits))),
      metric_(metric),
      targets_(metric.d.size()),
      survivors_(16 * kWidth),
      other_(16 * kWidth),
      from_(kWidth) {}

// Viterbi over [begin, last) from `state`, deciding [begin, end). Each of the 16 survivors keeps its own
// targets of the columns ahead, since the feedback of its errors is its own. (Keeping errors instead, of the
// steps that not all survivors share, takes twice the time: they are moved about value by value.) next state
// t comes from the 2^K states s = t << K | lo, mod 16; those t that share their predecessors (equal t mod 16
// / 2^K) are neighbouring lanes.
template <int K>
NUTSHELL_AVX2 void TrellisEncoder::encode_block(const float* row, int64_t begin, int64_t end, int64_t last,
                                                int& state, uint8_t* codes, float* values) {
  constexpr int kIn = 1 << K, kGroups = 16 / kIn;
  using L = Lanes<kIn == 16 ? 8 : kIn>;
  constexpr int kLane = kIn == 16 ? 8 : kIn, kParts = kIn / kLane;
  const bool feeds = !metric_.m.empty();
  const float step = tables_.step;
  const TrellisCode& code = tables_.code;
  float a[16], cost[16], next[16];
  typename L::Float second[kGroups][kParts];
  for (int s = 0; s < 16; ++s) a[s] = static_cast<float>(code.t1[s] - code.zero) * step;
  for (int g = 0; g < kGroups; ++g)
    for (int u = 0; u < kIn; ++u)
      second[g][u / kLane][u % kLane] = static_cast<float>(code.t2[u * kGroups + g]) * step;
  for (int s = 0; s < 16; ++s) {
    cost[s] = s == state ? 0.0f : 1e30f;
    if (feeds)
      std::memcpy(&survivors_[static_cast<size_t>(s * kWidth)], &targets_[static_cast<size_t>(begin)],
                  static_cast<size_t>(last - begin) * sizeof(float));
  }
  for (int64_t j = begin; j < last; ++j) {
    const int64_t at = j - begin;
    std::array<uint8_t, 16>& from = from_[static_cast<size_t>(at)];
    const float d = metric_.d[static_cast<size_t>(j)];
    float residual[16], value[16];
    for (int s = 0; s < 16; ++s)
      residual[s] =
          (feeds ? survivors_[static_cast<size_t>(s * kWidth + at)] : targets_[static_cast<size_t>(j)]) -
          a[s];
    for (int g = 0; g < kGroups; ++g)
      for (int part = 0; part < kParts; ++part) {
        const int s0 = kIn == 16 ? 0 : g * kIn;
        typename L::Float e = residual[s0] - second[g][part], best = cost[s0] + d * (e * e);
        typename L::Int which = typename L::Int{} + s0;
        for (int s = s0 + 1; s < s0 + kIn; ++s) {
          e = residual[s] - second[g][part];
          const typename L::Float c = cost[s] + d * (e * e);
          const typename L::Int better = c < best;
          best = better ? c : best;
          which = better ? typename L::Int{} + s : which;
        }
        for (int u = 0; u < kLane; ++u) {
          const int t = (part * kLane + u) * kGroups + g, s = which[u];
          next[t] = best[u];
          from[static_cast<size_t>(t)] = static_cast<uint8_t>(s);
          value[t] = a[s] + second[g][part][u];
        }
      }
    std::memcpy(cost, next, sizeof cost);
    if (!feeds) continue;
    const float* m = feedback(j, begin);
    const float original = row[j];
    for (int t = 0; t < 16; ++t) {
      const float e = original - value[t];
      const float* src = &survivors_[static_cast<size_t>(from[static_cast<size_t>(t)] * kWidth)];
      float* dst = &other_[static_cast<size_t>(t * kWidth)];
      for (int64_t k = (at + 1) & ~int64_t{7}; k < last - begin; k += 8) {
        Float8 x, y;
        std::memcpy(&x, src + k, 32);
        std::memcpy(&y, m + k,
                    32);  // a few values beyond `last` may be read: columns go on to a multiple of 8
        x += e * y;
        std::memcpy(dst + k, &x, 32);
      }
    }
    std::swap(survivors_, other_);
  }
  int t = 0;
  for (int s = 1; s < 16; ++s)
    if (cost[s] < cost[t]) t = s;
  bool first = true;
  for (int64_t j = last; j-- > begin;) {
    const int s = from_[static_cast<size_t>(j - begin)][static_cast<size_t>(t)];
    if (j < end) {
      if (first) state = t;
      first = false;
      // window = s | new << 4 = t << K | lo
      codes[j] = static_cast<uint8_t>(((t << K) | (s & (kIn - 1))) >> 4);
      values[j] = a[s] + static_cast<float>(code.t2[t]) * step;
    }
    t = s;
  }
}

// What is left of the decided values in the metric, and what it leaves to aim at behind them.
void TrellisEncoder::finish_block(const float* row, int64_t begin, int64_t end, const float* values,
                                  float* left) {
  float errors[kBlock];
  for (int64_t j = begin; j < end; ++j) {
    const float e = errors[j - begin] = row[j] - values[j];
    left[j] = targets_[static_cast<size_t>(j)] - values[j];
    if (metric_.m.empty()) continue;
    const float* m = feedback(j, begin);
    for (int64_t k = j + 1; k < end; ++k) targets_[static_cast<size_t>(k)] += e * m[k - begin];
  }
  const auto n = static_cast<int64_t>(targets_.size());
  const int64_t last = metric_.m.empty() ? end : std::min((begin / metric_.block + 1) * metric_.block, n);
  if (end < last)
    add_rows({errors, static_cast<size_t>(end - begin)}, feedback(begin, end),
             metric_.m[static_cast<size_t>(begin / metric_.block)].cols(), last - end,
             &targets_[static_cast<size_t>(end)]);
}

void TrellisEncoder::encode(std::span<const float> row, std::span<uint8_t> codes, std::span<float> values,
                            std::span<float> left) {
  const auto n = static_cast<int64_t>(row.size());
  std::memcpy(targets_.data(), row.data(), row.size_bytes());
  int state = tables_.code.start;
  for (int64_t begin = 0; begin < n;) {
    const int64_t end = std::min(begin + kBlock, n), last = std::min(end + kAhead, n);
    switch (bits_) {
      case 2:
        encode_block<2>(row.data(), begin, end, last, state, codes.data(), values.data());
        break;
      case 3:
        encode_block<3>(row.data(), begin, end, last, state, codes.data(), values.data());
        break;
      default:
        encode_block<4>(row.data(), begin, end, last, state, codes.data(), values.data());
    }
    finish_block(row.data(), begin, end, values.data(), left.data());
    begin = end;
  }
}

void to_streams(std::span<const float> columns, std::span<float> streams) {
  const size_t quarter = columns.size() / 4;
  for (size_t c = 0; c < columns.size(); ++c) streams[c % 4 * quarter + c / 4] = columns[c];
}

void pack_superrow(int bits, int64_t n, std::span<const uint16_t> scales, std::span<const uint8_t> codes,
                   std::vector<uint8_t>& out) {
  for (const uint16_t s : scales) {
    out.push_back(static_cast<uint8_t>(s));
    out.push_back(static_cast<uint8_t>(s >> 8));
  }
  for (int64_t slice = 0; slice < n / 32; ++slice) {
    const size_t base = out.size();
    out.resize(base + static_cast<size_t>(bits) * 64);
    for (int64_t r = 0; r < 16; ++r)
      for (int64_t i = 0; i < 4; ++i) {
        uint64_t word = 0;
        for (int64_t t = 0; t < 8; ++t)
          word |= static_cast<uint64_t>(codes[static_cast<size_t>(r * n + i * (n / 4) + slice * 8 + t)])
                  << (bits * t);
        for (int64_t p = 0; p < bits; ++p)
          out[base + static_cast<size_t>(p * 64 + 16 * (r / 4) + 4 * (r % 4) + i)] =
              static_cast<uint8_t>(word >> (8 * p));
      }
  }
}

}  // namespace nutshell::compress
