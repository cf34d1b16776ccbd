#include "compress/checkpoint.h"

#include <cstring>
#include <type_traits>

#include "base/rng.h"

namespace nutshell::compress {
namespace {

// Values one after the other, as this machine holds them: the state is for this machine.
class Writer {
 public:
  std::vector<uint8_t> bytes;
  void raw(const void* p, size_t n) {
    const auto* from = static_cast<const uint8_t*>(p);
    bytes.insert(bytes.end(), from, from + n);
  }
  template <typename T>
  void value(const T& v) requires(std::is_arithmetic_v<T>) {
    raw(&v, sizeof v);
  }
  template <typename T>
  void value(const std::vector<T>& v) {
    value(v.size());
    raw(v.data(), v.size() * sizeof(T));
  }
  void symmetric(const Matrix& m) {  // the lower triangle
    value(m.rows());
    for (int64_t r = 0; r < m.rows(); ++r) raw(m.row(r).data(), static_cast<size_t>(r + 1) * sizeof(float));
  }
};

class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : left_(bytes) {}
  bool ok = true;
  bool ended() const { return ok && left_.empty(); }
  void raw(void* p, size_t n) {
    if (n > left_.size()) ok = false;
    if (!ok || n == 0) return;
    std::memcpy(p, left_.data(), n);
    left_ = left_.subspan(n);
  }
  template <typename T>
  void value(T& v) requires(std::is_arithmetic_v<T>) {
    raw(&v, sizeof v);
  }
  template <typename T>
  void value(std::vector<T>& v) {
    size_t n = 0;
    value(n);
    if (n > left_.size() / sizeof(T)) ok = false;
    if (!ok) return;
    v.resize(n);
    raw(v.data(), n * sizeof(T));
  }
  void symmetric(Matrix& m) {
    int64_t n = 0;
    value(n);
    if (n < 0 || n > 1 << 20 || static_cast<uint64_t>(n * (n + 1) / 2) > left_.size() / sizeof(float))
      ok = false;
    if (!ok) return;
    m.resize(n, n);
    for (int64_t r = 0; r < n; ++r) {
      raw(m.row(r).data(), static_cast<size_t>(r + 1) * sizeof(float));
      m.col(r).head(r) = m.row(r).head(r).transpose();
    }
  }

 private:
  std::span<const uint8_t> left_;
};

// The same members in the same order, both ways.
template <typename Io, typename Stats>
void statistics_members(Io& io, Stats& s) {
  io.value(s.n_tokens);
  for (auto& m : s.outputs) io.symmetric(m);
  for (auto& w : s.token_weights) io.value(w);
  io.symmetric(s.head_inputs);
  io.value(s.head_rows);
  io.symmetric(s.embed_gradients);
  io.value(s.token_shares);
}

void mix(uint64_t& h, uint64_t v) { h = counter_rng(h ^ v, 0); }
void mix_bytes(uint64_t& h, const void* p, size_t n) {
  const auto* from = static_cast<const uint8_t*>(p);
  for (; n >= 8; n -= 8, from += 8) {
    uint64_t v = 0;
    std::memcpy(&v, from, 8);
    mix(h, v);
  }
  uint64_t v = n;
  std::memcpy(&v, from, n);
  mix(h, v);
}

}  // namespace

uint64_t fingerprint(const SourceModel& source, const CompressOptions& o,
                     std::span<const int32_t> calibration) {
  uint64_t h = 1;  // of this layout of the state
  mix(h, o.size_bytes);
  mix(h, o.seed);
  mix(h, static_cast<uint64_t>(o.window_tokens));
  mix(h, static_cast<uint64_t>(o.windows));
  for (const double v : {o.bits, o.damp_inputs, o.damp_outputs}) mix_bytes(h, &v, sizeof v);
  mix_bytes(h, calibration.data(), calibration.size_bytes());
  for (const Matrix& w : source.weights)
    mix_bytes(h, w.data(), static_cast<size_t>(w.size()) * sizeof(float));
  return h;
}

std::vector<uint8_t> freeze(const Statistics& statistics, const std::vector<Target>& targets,
                            double predicted_kl) {
  Writer w;
  w.value(predicted_kl);
  w.value(targets.size());
  for (const Target& t : targets) {
    w.value(t.weight);
    w.value(t.order);
    w.value(t.runs.size());
    for (const Run& run : t.runs) {
      w.value(run.first_row);
      w.value(run.n_rows);
      w.value(run.coded.bits);
    }
  }
  statistics_members(w, statistics);
  return std::move(w.bytes);
}

bool thaw(std::span<const uint8_t> bytes, Statistics& statistics, std::vector<Target>& targets,
          double& predicted_kl) {
  Reader r(bytes);
  double predicted = 0;
  size_t n = 0;
  r.value(predicted);
  r.value(n);
  if (!r.ok || n != targets.size()) return false;
  std::vector<Target> read = targets;
  for (Target& t : read) {
    WeightId weight = kNone;
    size_t n_runs = 0;
    r.value(weight);
    r.value(t.order);
    r.value(n_runs);
    if (!r.ok || weight != t.weight || n_runs < 1 || n_runs > static_cast<size_t>(t.n_rows)) return false;
    t.runs.assign(n_runs, {});
    for (Run& run : t.runs) {
      r.value(run.first_row);
      r.value(run.n_rows);
      r.value(run.coded.bits);
    }
  }
  Statistics s;
  s.outputs.resize(statistics.outputs.size());
  s.token_weights.resize(statistics.token_weights.size());
  statistics_members(r, s);
  if (!r.ended()) return false;
  statistics = std::move(s);
  targets = std::move(read);
  predicted_kl = predicted;
  return true;
}

std::vector<uint8_t> freeze(const Target& target) {
  Writer w;
  for (const Run& run : target.runs) {
    w.value(run.coded.scale);
    w.value(run.coded.bytes);
  }
  return std::move(w.bytes);
}

bool thaw(std::span<const uint8_t> bytes, Target& target) {
  Reader r(bytes);
  std::vector<Run> runs = target.runs;
  for (Run& run : runs) {
    r.value(run.coded.scale);
    r.value(run.coded.bytes);
    if (r.ok && run.coded.bytes.size() != target.bytes(run.coded.bits, run.n_rows)) return false;
  }
  if (!r.ended()) return false;
  target.runs = std::move(runs);
  return true;
}

}  // namespace nutshell::compress
