#include "compress/targets.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

namespace nutshell::compress {
namespace {

// Of all text, the part that is tokens the calibration text does not foresee. By Zipf's law the last four
// fifths of a vocabulary of 50,000 are 15 % of a text; in 12,288 tokens most of them do not occur.
constexpr double kUnseen = 0.2;

// Rows that share a width: whole superrows, at most some thousand groups.
int64_t group_rows(const Target& t) {
  if (t.several) return t.n_rows;
  constexpr int64_t kMostGroups = 4096;
  const int64_t n_super = (t.n_rows + kTrellisRows - 1) / kTrellisRows;
  return (n_super + kMostGroups - 1) / kMostGroups * kTrellisRows;
}

// Stored order: tokens from the dearest row on. Of other matrices the dearest come last: what the coarse rows
// before them lack, the fine ones make up for.
std::vector<int32_t> order_by_cost(const Target& t, const std::vector<double>& error) {
  if (t.several) return {};
  std::vector<int32_t> order(error.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const double ea = error[static_cast<size_t>(a)], eb = error[static_cast<size_t>(b)];
    return t.tokens() ? ea > eb : ea < eb;
  });
  return order;
}

}  // namespace

// KL per token of coding row r with an error of 1 per unit of variance: 1/2 D_A D_B var(row), D from the
// metrics of the rows and columns. The rotation spreads a row's variance evenly, so the columns' part is the
// sum of D_B.
std::vector<double> row_errors(const Target& t, const Matrix& w, const Statistics& s,
                               const Damping& damping) {
  std::vector<double> errors(static_cast<size_t>(w.rows()));
  const MetricFactor b = factor_metric(input_metric(s, t), damping.inputs);
  const double columns = std::accumulate(b.d.begin(), b.d.end(), 0.0);
  if (t.positions) {
    std::fill(errors.begin(), errors.end(), 1.0 / static_cast<double>(errors.size()));
  } else if (!t.tokens()) {
    const MetricFactor a = factor_metric(s.outputs[static_cast<size_t>(t.weight)].moments, damping.outputs);
    for (size_t r = 0; r < errors.size(); ++r) errors[r] = static_cast<double>(a.d[r]);
  } else {
    // A token's share of the two parts of the metric, what a short text does not show mixed in.
    const double unseen = kUnseen / static_cast<double>(errors.size());
    const double table = t.table ? s.embed_gradients.trace() : 0.0,
                 head = t.head ? s.head_inputs.trace() : 0.0;
    const double all = std::accumulate(s.head_rows.begin(), s.head_rows.end(), 0.0),
                 total = all > 0 ? all : 1.0;
    for (size_t r = 0; r < errors.size(); ++r)
      errors[r] = unseen + (1 - kUnseen) *
                               (static_cast<double>(s.token_shares[r]) * table +
                                static_cast<double>(s.head_rows[r]) / total * head) /
                               (table + head);
  }
  for (size_t r = 0; r < errors.size(); ++r)
    errors[r] *= 0.5 * columns * static_cast<double>(w.row(static_cast<int64_t>(r)).squaredNorm()) /
                 static_cast<double>(w.cols());
  return errors;
}

namespace {

// Neighbours of equal width become one run.
void set_runs(Target& t, std::span<const int> bits) {
  t.runs.clear();
  const int64_t group = group_rows(t);
  for (size_t g = 0; g < bits.size(); ++g) {
    const int64_t first = static_cast<int64_t>(g) * group, n = std::min(group, t.n_rows - first);
    if (!t.runs.empty() && t.runs.back().coded.bits == bits[g]) {
      t.runs.back().n_rows += n;
    } else {
      t.runs.push_back({first, n, {bits[g], 1.0f, {}}});
    }
  }
  // Within a run in the matrix's order: threads that share a run out then write to different ends of the
  // result, and do not take each other's cache lines away (on two threads that halved the speed).
  if (t.order.empty()) return;
  for (const Run& run : t.runs)
    std::sort(t.order.begin() + run.first_row, t.order.begin() + run.first_row + run.n_rows);
  if (t.runs.size() == 1 || std::is_sorted(t.order.begin(), t.order.end())) t.order.clear();
}

}  // namespace

double Target::mean_bits() const {
  double sum = 0;
  for (const Run& run : runs) sum += static_cast<double>(run.coded.bits) * static_cast<double>(run.n_rows);
  return sum / static_cast<double>(n_rows);
}

namespace {

// What the ops say of weights: the table of tokens, the output matrix, those that choose experts, and those
// that are a matrix for each head or expert.
struct Roles {
  WeightId tokens = kNone, head = kNone;
  std::set<WeightId> routers, slices;

  explicit Roles(const Graph& graph) {
    std::set<ActId> chosen_by;
    for (const Op& op : graph.ops)
      if (const auto* experts = std::get_if<ExpertsOp>(&op)) {
        chosen_by.insert(experts->logits);
        slices.insert({experts->gate, experts->up, experts->down});
      }
    for (const Op& op : graph.ops) {
      if (const auto* heads = std::get_if<HeadLinearOp>(&op)) slices.insert(heads->weight);
      if (const auto* embed = std::get_if<EmbedOp>(&op); embed && embed->by == EmbedBy::token)
        tokens = embed->table;
      const auto* linear = std::get_if<LinearOp>(&op);
      if (linear == nullptr) continue;
      if (linear->parts[0].out == graph.logits) head = linear->parts[0].weight;
      for (const LinearOp::Part& part : linear->parts)
        if (chosen_by.contains(part.out)) routers.insert(part.weight);
    }
  }
};

// Whether the code can hold a weight's rows where they lie in its tensor.
bool can_hold(const WeightSpec& w, bool alone) {
  const int64_t each = w.n_rows / w.n_slices;
  return (w.use & kUseVector) == 0 && w.n_rows >= kTrellisRows && w.n_cols % 32 == 0 &&
         ((alone && w.n_slices == 1) || (each % kTrellisRows == 0 && w.first % kTrellisRows == 0));
}

}  // namespace

std::vector<Target> choose_targets(const Graph& graph) {
  const Roles roles(graph);
  std::map<std::string, std::vector<WeightId>> parts;
  for (size_t i = 0; i < graph.weights.size(); ++i)
    parts[graph.weights[i].name].push_back(static_cast<WeightId>(i));
  std::vector<Target> targets;
  for (size_t i = 0; i < graph.weights.size(); ++i) {
    const auto id = static_cast<WeightId>(i);
    const WeightSpec& first = graph.weights[i];
    const std::vector<WeightId>& all = parts[first.name];
    if (first.first != 0 || id != all[0] || roles.routers.contains(id)) continue;
    Target t{id,   first.name, 0, first.n_cols, id == roles.tokens, id == roles.head, false, false,
             true, {},         {}};
    bool held = true;
    for (const WeightId part : all) {  // in the order of their rows, as far as is known
      const WeightSpec& w = graph.weights[static_cast<size_t>(part)];
      held = held && can_hold(w, all.size() == 1) && w.first == t.n_rows;
      t.n_rows += w.n_rows;
    }
    if (!held) continue;
    const bool sliced = roles.slices.contains(id);
    t.positions = !t.tokens() && (first.use & kUseTable) != 0;
    t.several = all.size() > 1 || sliced;
    t.rotated = !sliced;  // ops on slices do not turn their inputs
    t.runs.push_back({0, t.n_rows, {kMinBits, 1.0f, {}}});
    targets.push_back(std::move(t));
  }
  return targets;
}

Moments input_metric(const Statistics& s, const Target& t) {
  if (t.positions) return s.embed_gradients;
  if (t.table && t.head) return s.head_inputs + s.embed_gradients;
  if (t.table) return s.embed_gradients;
  if (t.head) return s.head_inputs;
  return s.inputs[static_cast<size_t>(s.input_of[static_cast<size_t>(t.weight)])].moments;
}

std::vector<double> even_errors(const Target& t, const Matrix& w) {
  const double all = static_cast<double>(w.squaredNorm());
  return std::vector<double>(static_cast<size_t>(t.n_rows), 0.5 * all / static_cast<double>(t.n_rows));
}

double share_bits(std::vector<Target>& targets, const std::vector<std::vector<double>>& errors,
                  uint64_t limit) {
  std::vector<Budget> items;
  for (size_t i = 0; i < targets.size(); ++i) {
    Target& t = targets[i];
    const std::vector<double>& error = errors[i];
    t.order = order_by_cost(t, error);
    for (int64_t first = 0; first < t.n_rows; first += group_rows(t)) {
      const int64_t n = std::min(group_rows(t), t.n_rows - first);
      double sum = 0;
      for (int64_t r = first; r < first + n; ++r) sum += error[static_cast<size_t>(t.row_of(r))];
      Budget& item = items.emplace_back();
      for (int k = kMinBits; k <= kMaxBits; ++k) {
        item.cost[static_cast<size_t>(k)] = sum * coding_error(k);
        item.bytes[static_cast<size_t>(k)] = t.bytes(k, n);
      }
    }
  }
  const Allocation a = allocate(items, limit);
  size_t at = 0;
  for (Target& t : targets) {
    const auto n = static_cast<size_t>((t.n_rows + group_rows(t) - 1) / group_rows(t));
    set_runs(t, std::span(a.bits).subspan(at, n));
    at += n;
  }
  return a.predicted_kl;
}

bool at_most_bits(const std::vector<Target>& targets) {
  return std::all_of(targets.begin(), targets.end(),
                     [](const Target& t) { return t.mean_bits() == static_cast<double>(kMaxBits); });
}

}  // namespace nutshell::compress
