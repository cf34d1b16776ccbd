#include "compress/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

namespace nutshell::compress {
namespace {

constexpr uint64_t kLayout = 4;  // of the entries, mixed into every mark

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
    value(static_cast<uint64_t>(v.size()));
    raw(v.data(), v.size() * sizeof(T));
  }
  void symmetric(const Matrix& m) {  // the lower triangle
    value(static_cast<uint64_t>(m.rows()));
    for (int64_t r = 0; r < m.rows(); ++r) raw(m.row(r).data(), static_cast<size_t>(r + 1) * sizeof(float));
  }
};

class Reader {
 public:
  Reader(std::span<const uint8_t> bytes, uint64_t mark) : left_(bytes) {
    uint64_t found = 0;
    value(found);
    if (found != mark) ok = false;
  }
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
  // So many values, or none where that may be.
  template <typename T>
  void values(std::vector<T>& v, uint64_t expected, bool may_be_empty = false) {
    uint64_t n = 0;
    value(n);
    if ((n != expected && !(may_be_empty && n == 0)) || n > left_.size() / sizeof(T)) ok = false;
    if (!ok) return;
    v.resize(n);
    raw(v.data(), n * sizeof(T));
    if constexpr (std::is_floating_point_v<T>)
      ok = ok && std::all_of(v.begin(), v.end(), [](T x) { return std::isfinite(x); });
  }
  // [expected, expected], or nothing where that may be.
  void symmetric(Matrix& m, int64_t expected, bool may_be_empty = false) {
    uint64_t n = 0;
    value(n);
    if (n != static_cast<uint64_t>(expected) && !(may_be_empty && n == 0)) ok = false;
    if (!ok || n * (n + 1) / 2 > left_.size() / sizeof(float)) ok = false;
    if (!ok) return;
    m.resize(static_cast<int64_t>(n), static_cast<int64_t>(n));
    for (int64_t r = 0; r < m.rows(); ++r) {
      raw(m.row(r).data(), static_cast<size_t>(r + 1) * sizeof(float));
      m.col(r).head(r) = m.row(r).head(r).transpose();
    }
    ok = ok && m.allFinite();
  }

 private:
  std::span<const uint8_t> left_;
};

// Of the vectors that the output matrix reads and the token table gives.
std::pair<int64_t, int64_t> token_widths(const Graph& graph) {
  int64_t head = 0, table = 0;
  const auto width = [&](ActId id) { return graph.acts[static_cast<size_t>(id)].width; };
  for (const Op& op : graph.ops) {
    if (const auto* linear = std::get_if<LinearOp>(&op); linear && linear->parts[0].out == graph.logits)
      head = width(linear->in);
    if (const auto* embed = std::get_if<EmbedOp>(&op)) table = width(embed->out);
  }
  return {head, table};
}

}  // namespace

uint64_t mark_analysis(uint64_t source, const CompressOptions& o, std::span<const int32_t> calibration) {
  uint64_t mark = source ^ kLayout;
  mix_bytes(mark, kRecipeVersion, std::strlen(kRecipeVersion));
  const uint64_t whole[] = {o.seed, static_cast<uint64_t>(o.window_tokens), static_cast<uint64_t>(o.windows),
                            static_cast<uint64_t>(o.most_moments), o.data_free};
  mix_bytes(mark, whole, sizeof whole);
  const double numbers[] = {o.damp_inputs, o.damp_outputs};
  mix_bytes(mark, numbers, sizeof numbers);
  if (!o.data_free) mix_bytes(mark, calibration.data(), calibration.size_bytes());
  return mark;
}

uint64_t mark_size(uint64_t analysis, uint64_t bytes) {
  mix_bytes(analysis, &bytes, sizeof bytes);
  return analysis;
}

Analysis no_analysis(const Graph& graph, const std::vector<Target>& targets) {
  return {no_statistics(graph), std::vector<std::vector<double>>(targets.size())};
}

std::vector<uint8_t> freeze(uint64_t mark, const Analysis& analysis) {
  const Statistics& s = analysis.statistics;
  Writer w;
  w.value(mark);
  w.value(s.windows);
  w.value(s.n_tokens);
  for (const auto& weights : s.token_weights) w.value(weights);
  w.symmetric(s.head_inputs);
  w.value(s.head_rows);
  w.symmetric(s.embed_gradients);
  w.value(s.token_shares);
  for (const auto& errors : analysis.errors) w.value(errors);
  return std::move(w.bytes);
}

bool thaw(std::span<const uint8_t> bytes, uint64_t mark, const Graph& graph,
          const std::vector<Target>& targets, int64_t windows, Analysis& analysis) {
  Reader r(bytes, mark);
  Analysis read = no_analysis(graph, targets);
  Statistics& s = read.statistics;
  r.value(s.windows);
  r.value(s.n_tokens);
  if (s.windows < 0 || s.windows > windows || s.n_tokens < s.windows) r.ok = false;
  for (auto& weights : s.token_weights) r.values(weights, static_cast<uint64_t>(s.n_tokens), true);
  const auto [head, table] = token_widths(graph);
  r.symmetric(s.head_inputs, head, true);
  r.values(s.head_rows, s.head_rows.size());
  r.symmetric(s.embed_gradients, table, true);
  r.values(s.token_shares, s.token_shares.size());
  for (size_t i = 0; i < targets.size(); ++i) {
    const Target& t = targets[i];
    r.values(read.errors[i], static_cast<uint64_t>(t.n_rows), true);
    // Without calibration there are none; with it, none may lack.
    if (s.windows > 0 &&
        ((t.head && s.head_inputs.size() == 0) || (t.table && s.embed_gradients.size() == 0)))
      r.ok = false;
  }
  if (!r.ended()) return false;
  s.inputs = std::move(analysis.statistics.inputs);
  s.outputs = std::move(analysis.statistics.outputs);
  analysis = std::move(read);
  return true;
}

std::string moments_entry(const Graph& graph, const GatheredOf& of) {
  const std::string& weight = graph.weights[static_cast<size_t>(of.weight)].name;
  return (of.outputs ? "moments " : "inputs ") + weight;
}

uint64_t moments_bytes(int64_t n, int64_t most) {
  uint64_t bytes = 2 * sizeof(uint64_t);
  for (const int64_t b : moment_blocks(n, most))
    bytes += 2 * sizeof(double) + sizeof(uint64_t) + static_cast<uint64_t>(b * (b + 1) / 2) * sizeof(float);
  return bytes;
}

std::vector<uint8_t> freeze(uint64_t mark, const Gathered& gathered) {
  const Moments& m = gathered.moments;
  Writer w;
  w.bytes.reserve(moments_bytes(m.n, m.block));
  w.value(mark);
  w.value(gathered.windows);
  for (size_t b = 0; b < m.blocks.size(); ++b) {
    w.value(gathered.sums[b].sizes);
    w.value(gathered.sums[b].products);
    w.symmetric(m.blocks[b]);
  }
  return std::move(w.bytes);
}

bool thaw(std::span<const uint8_t> bytes, uint64_t mark, int64_t n, int64_t most, int64_t windows,
          Gathered& gathered) {
  const std::vector<int64_t> blocks = moment_blocks(n, most);
  Reader r(bytes, mark);
  Gathered read{{}, std::vector<GradientSums>(blocks.size()), 0};
  read.moments.n = n;
  read.moments.block = blocks[0];
  read.moments.blocks.resize(blocks.size());
  r.value(read.windows);
  if (read.windows <= 0 || read.windows > windows) r.ok = false;
  for (size_t b = 0; b < blocks.size(); ++b) {
    r.value(read.sums[b].sizes);
    r.value(read.sums[b].products);
    r.ok = r.ok && std::isfinite(read.sums[b].sizes) && std::isfinite(read.sums[b].products);
    r.symmetric(read.moments.blocks[b], blocks[b]);
  }
  if (!r.ended()) return false;
  gathered = std::move(read);
  return true;
}

std::string rows_entry(const std::string& weight) { return "rows " + weight; }

uint64_t rows_bytes(const Target& target) {
  return 8 + target.bytes() + target.runs.size() * (sizeof(float) + sizeof(uint64_t));
}

std::vector<uint8_t> freeze(uint64_t mark, const Target& target) {
  Writer w;
  w.bytes.reserve(rows_bytes(target));
  w.value(mark);
  for (const Run& run : target.runs) {
    w.value(run.coded.scale);
    w.value(run.coded.bytes);
  }
  return std::move(w.bytes);
}

bool thaw(std::span<const uint8_t> bytes, uint64_t mark, Target& target) {
  Reader r(bytes, mark);
  std::vector<Run> runs = target.runs;
  for (Run& run : runs) {
    r.value(run.coded.scale);
    r.values(run.coded.bytes, target.bytes(run.coded.bits, run.n_rows));
    if (!r.ok || !std::isfinite(run.coded.scale)) return false;
  }
  if (!r.ended()) return false;
  target.runs = std::move(runs);
  return true;
}

}  // namespace nutshell::compress
