#include "compress/trellis.h"

#include <algorithm>
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
      common_(kWidth),
      errors_(kWidth),
      from_(kWidth) {}

// What the 16 survivors of a block aim at: each has errors of its own, which are fed back into its columns
// ahead. Survivors soon come from one path: what all of them share is fed back once, for all, and only the
// few errors behind that are kept by survivor. Sums are those of survivors with targets of their own, in the
// same order.
class TrellisEncoder::Survivors {
 public:
  // targets: of the block's columns. from, errors: by step, [kWidth]; from is the caller's to fill.
  Survivors(std::span<float> targets, const std::vector<Parents>& from, std::vector<Lanes16>& errors)
      : common_(targets), from_(from), errors_(errors) {}

  // Of the next step.
  NUTSHELL_AVX2 void aim(Lanes16& target) const {
    const auto at = static_cast<size_t>(step_);
    target.fill(common_[at]);
    for (int64_t i = shared_; i < step_; ++i) {
      const float m = feedback_[static_cast<size_t>(i)][at];
      const Lanes16& error = errors_[static_cast<size_t>(i)];
      for (size_t t = 0; t < 16; ++t) target[t] += error[t] * m;
    }
  }
  // Every survivor has made the next step, with these errors. feedback: the step's row of M from the block's
  // first column on.
  NUTSHELL_AVX2 void advance(const Lanes16& error, const float* feedback) {
    const Parents& from = from_[static_cast<size_t>(step_)];
    for (int64_t i = shared_; i < step_; ++i) {
      Lanes16& mine = errors_[static_cast<size_t>(i)];
      const Lanes16 before = mine;
      for (size_t t = 0; t < 16; ++t) mine[t] = before[from[t]];
    }
    errors_[static_cast<size_t>(step_)] = error;
    feedback_[static_cast<size_t>(step_)] = feedback;
    ++step_;
    while (shared_ < step_ && is_shared()) share();
  }

 private:
  // Whether all survivors were the same one at step shared_.
  bool is_shared() const {
    Parents at;
    for (size_t t = 0; t < 16; ++t) at[t] = static_cast<uint8_t>(t);
    for (int64_t i = step_ - 1; i > shared_; --i)
      for (size_t t = 0; t < 16; ++t) at[t] = from_[static_cast<size_t>(i)][at[t]];
    return std::all_of(at.begin(), at.end(), [&](uint8_t t) { return t == at[0]; });
  }
  NUTSHELL_AVX2 void share() {
    const auto step = static_cast<size_t>(shared_);
    const float e = errors_[step][0];
    // A few values beyond the last column may be read: columns go on to a multiple of 8.
    for (size_t k = (step + 1) & ~size_t{7}; k < common_.size(); k += 8) {
      Float8 x, y;
      std::memcpy(&x, &common_[k], 32);
      std::memcpy(&y, feedback_[step] + k, 32);
      x += e * y;
      std::memcpy(&common_[k], &x, 32);
    }
    ++shared_;
  }

  const std::span<float> common_;
  const std::vector<Parents>& from_;
  std::vector<Lanes16>& errors_;
  std::array<const float*, kWidth> feedback_;
  int64_t step_ = 0, shared_ = 0;  // steps decided; of them, those all survivors have in common
};

// Viterbi over [begin, last) from `state`, deciding [begin, end). next state t comes from the 2^K states s =
// t << K | lo, mod 16; those t that share their predecessors (equal t mod 16 / 2^K) are neighbouring lanes.
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
  for (int s = 0; s < 16; ++s) cost[s] = s == state ? 0.0f : 1e30f;
  std::copy(targets_.begin() + begin, targets_.begin() + last, common_.begin());
  Survivors survivors({common_.data(), static_cast<size_t>(last - begin)}, from_, errors_);
  for (int64_t j = begin; j < last; ++j) {
    const int64_t at = j - begin;
    Parents& from = from_[static_cast<size_t>(at)];
    const float d = metric_.d[static_cast<size_t>(j)];
    Lanes16 target, value;
    if (feeds)
      survivors.aim(target);
    else
      target.fill(targets_[static_cast<size_t>(j)]);
    float residual[16];
    for (size_t s = 0; s < 16; ++s) residual[s] = target[s] - a[s];
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
          value[static_cast<size_t>(t)] = a[s] + second[g][part][u];
        }
      }
    std::memcpy(cost, next, sizeof cost);
    if (!feeds) continue;
    Lanes16 error;
    for (size_t t = 0; t < 16; ++t) error[t] = row[j] - value[t];
    survivors.advance(error, feedback(j, begin));
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
