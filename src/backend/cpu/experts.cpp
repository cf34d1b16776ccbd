// Mixtures of experts on the CPU. The products of chosen experts go through the same kernels as any matrix.
// One token: every thread routes for itself and does its share of all chosen experts' rows. Several tokens:
// the pairs (token, chosen expert) are ordered by expert, each expert's padded to whole tiles, and every
// thread does its share of every expert's rows. What an output sums up, it sums up by expert number, on one
// thread: results do not depend on the number of threads.
#include <algorithm>
#include <cstring>

#include "backend/cpu/cpu_backend.h"
#include "kernels/route.h"

namespace nutshell::cpu {
namespace {

RouterShape router_of(const ExpertsOp& op) {
  RouterShape r;
  r.n_expert = op.n_expert;
  r.n_used = op.n_used;
  r.scores = op.router.scores == Router::Scores::softmax   ? RouterScores::softmax
             : op.router.scores == Router::Scores::sigmoid ? RouterScores::sigmoid
                                                           : RouterScores::softmax_of_chosen;
  r.normalize = op.router.normalize;
  r.scale = op.router.scale;
  r.n_group = op.router.n_group;
  r.n_group_used = op.router.n_group_used;
  r.group_best = op.router.group_best;
  return r;
}

int64_t superrows(int64_t n_rows) { return (n_rows + kSuperrow - 1) / kSuperrow; }

}  // namespace

// One ExpertsOp of one step on one thread.
struct Execution::Experts {
  Experts(Execution& execution, const ExpertsOp& o)
      : e(execution), op(o), plan(plan_experts(execution.b_.graph_, o, execution.b_.extents_.max_tokens)) {}

  template <typename T>
  T* shared(uint64_t offset) const {
    return reinterpret_cast<T*>(e.b_.scratch_.get() + e.b_.plan_.experts + offset);
  }
  template <typename T>
  T* mine(uint64_t offset) const {
    return reinterpret_cast<T*>(e.thread_ + e.b_.plan_.thread_work + offset);
  }
  const float* bias(WeightId id, int64_t expert, int64_t width) const {
    return id == kNone ? nullptr : e.vector(id) + expert * width;
  }
  int forms(std::initializer_list<WeightId> ids, bool many) const {
    int all = 0;
    for (WeightId id : ids)
      if (const Weight& w = e.weight(id); w.packed)
        all |= many ? matmul_forms(w.spec.dtype, e.b_.dot_) : matvec_forms(w.spec.dtype, e.b_.dot_);
    return all;
  }
  void route(int64_t t, int32_t* ids, float* weights) const {
    route_token(router_of(op), e.row(op.logits, t), e.vector(op.selection_bias), ids, weights,
                mine<float>(plan.route));
  }

  // Superrows [begin, end) of one expert's matrix times one row, which is there as x and, quantised, as q.
  void one_product(WeightId id, int64_t expert, const ActRow& q, const float* x, const float* bias_of,
                   float* y, int64_t begin, int64_t end) const {
    const Weight& w = e.weight(id);
    if (w.packed) return matvec(w.matrix(expert), q, e.b_.dot_, bias_of, false, y, begin, end);
    const int64_t rows = w.slice_rows();
    dense_matmul(w.dense(expert), x, w.spec.n_cols, 1, {y, rows, bias_of, false}, begin * kSuperrow,
                 std::min(rows, end * kSuperrow), mine<float>(plan.kernel));
  }
  void one_token();

  // Several tokens.
  void many_tokens(int64_t n);
  int64_t order_pairs(int64_t n) const;
  void load_inputs(int64_t n_pairs, const ActTiles& tiles) const;
  void gate_and_up(const ActTiles& tiles) const;
  void activate(int64_t n_pairs, const ActTiles& tiles) const;
  void down(const ActTiles& tiles) const;
  void many_product(WeightId id, int64_t expert, const ActTiles& tiles, const float* rows, int64_t stride,
                    const MatmulOut& out, int64_t begin, int64_t end) const;
  // Padded pairs [begin, end) of an expert and how many of them are real.
  struct Span {
    int64_t begin, n;
  };
  Span pairs_of(int64_t expert) const {
    const auto* starts = mine<int32_t>(plan.starts);
    const auto* pairs = mine<int32_t>(plan.pairs);
    Span span{starts[expert], starts[expert + 1] - starts[expert]};
    while (span.n > 0 && pairs[span.begin + span.n - 1] < 0) --span.n;
    return span;
  }

  Execution& e;
  const ExpertsOp& op;
  const ExpertsPlan plan;
};

void Execution::Experts::one_token() {
  auto* ids = mine<int32_t>(plan.route) + 2 * op.n_expert;
  auto* weights = mine<float>(plan.route) + 2 * op.n_expert + op.n_used;
  route(0, ids, weights);
  const int64_t n_ff = plan.n_ff, per_expert = superrows(n_ff);
  const float* x = e.row(op.in, 0);
  float *gate = shared<float>(plan.gate), *up = shared<float>(plan.up);
  ActRow q = ActRow::at(e.thread_, plan.n_embd);
  if (const int f = forms({op.gate, op.up}, false)) quantize_row(x, plan.n_embd, f, q);
  auto [at, end] = e.worker_.share(op.n_used * per_expert);
  while (at < end) {
    const int64_t slot = at / per_expert, expert = ids[slot], first = at % per_expert;
    const int64_t last = std::min(per_expert, first + end - at);
    one_product(op.gate, expert, q, x, bias(op.gate_bias, expert, n_ff), gate + slot * n_ff, first, last);
    one_product(op.up, expert, q, x, bias(op.up_bias, expert, n_ff), up + slot * n_ff, first, last);
    at += last - first;
  }
  e.worker_.barrier();
  q = ActRow::at(e.thread_, n_ff);
  auto* room = reinterpret_cast<float*>(e.thread_ + e.b_.plan_.thread_input);
  auto *y = mine<float>(plan.row), *out = e.row(op.out, 0);
  const auto [begin_row, end_row] = e.worker_.share(superrows(plan.n_embd));
  const int f = forms({op.down}, false);
  for (int64_t slot = 0; slot < op.n_used && begin_row < end_row; ++slot) {
    const int64_t expert = ids[slot];
    gated_activation(gate_of(op.activation), gate + slot * n_ff, up + slot * n_ff, n_ff, room);
    if (f != 0) quantize_row(room, n_ff, f, q);
    one_product(op.down, expert, q, room, bias(op.down_bias, expert, plan.n_embd), y, begin_row, end_row);
    for (int64_t i = begin_row * kSuperrow; i < std::min(plan.n_embd, end_row * kSuperrow); ++i)
      out[i] += weights[slot] * y[i];
  }
}

// Fills starts and pairs (token * n_used + slot, -1 for padding); every thread for itself. Answers the number
// of pairs with padding.
int64_t Execution::Experts::order_pairs(int64_t n) const {
  const auto* ids = shared<int32_t>(plan.ids);
  auto *starts = mine<int32_t>(plan.starts), *pairs = mine<int32_t>(plan.pairs);
  std::fill_n(starts, op.n_expert + 1, 0);
  for (int64_t i = 0; i < n * op.n_used; ++i) ++starts[ids[i] + 1];
  for (int64_t x = 0; x < op.n_expert; ++x)
    starts[x + 1] = starts[x] + (starts[x + 1] + kTileTokens - 1) / kTileTokens * kTileTokens;
  const int64_t total = starts[op.n_expert];
  std::fill_n(pairs, total, -1);
  for (int64_t i = 0; i < n * op.n_used; ++i) {  // the first free place; an expert has at most n pairs
    int32_t* place = pairs + starts[ids[i]];
    while (*place >= 0) ++place;
    *place = static_cast<int32_t>(i);
  }
  return total;
}

void Execution::Experts::load_inputs(int64_t n_pairs, const ActTiles& tiles) const {
  const int f = forms({op.gate, op.up}, true);
  const bool dense = !e.weight(op.gate).packed || !e.weight(op.up).packed;
  const auto* pairs = mine<int32_t>(plan.pairs);
  const auto [begin, end] = e.worker_.share(n_pairs, kTileTokens);
  for (int64_t p = begin; p < end; ++p) {
    if (pairs[p] < 0) {
      if (f != 0) clear_in_tiles(p, tiles);
      continue;
    }
    const float* x = e.row(op.in, pairs[p] / op.n_used);
    if (f != 0) quantize_to_tiles(x, p, f, ActRow::at(e.thread_, plan.n_embd), tiles);
    if (dense)
      std::memcpy(shared<float>(plan.in) + p * plan.n_embd, x,
                  static_cast<size_t>(plan.n_embd) * sizeof(float));
  }
}

// Superrows [begin, end) of one expert's matrix times the rows of its tiles (or, not packed, of rows).
void Execution::Experts::many_product(WeightId id, int64_t expert, const ActTiles& tiles, const float* rows,
                                      int64_t stride, const MatmulOut& out, int64_t begin,
                                      int64_t end) const {
  const Weight& w = e.weight(id);
  const Span span = pairs_of(expert);
  if (w.packed)
    return matmul(w.matrix(expert), tiles.from_tile(span.begin / kTileTokens), span.n, e.b_.dot_, out, begin,
                  end, mine<void>(plan.kernel));
  dense_matmul(w.dense(expert), rows + span.begin * stride, stride, span.n, out, begin * kSuperrow,
               std::min(w.slice_rows(), end * kSuperrow), mine<float>(plan.kernel));
}

void Execution::Experts::gate_and_up(const ActTiles& tiles) const {
  const int64_t n_ff = plan.n_ff;
  const auto [begin, end] = e.worker_.share(superrows(n_ff));
  if (begin == end) return;
  for (int64_t x = 0; x < op.n_expert; ++x) {
    const Span span = pairs_of(x);
    if (span.n == 0) continue;
    const auto product = [&](WeightId id, WeightId bias_id, uint64_t to) {
      many_product(id, x, tiles, shared<float>(plan.in), plan.n_embd,
                   {shared<float>(to) + span.begin * n_ff, n_ff, bias(bias_id, x, n_ff), false}, begin, end);
    };
    product(op.gate, op.gate_bias, plan.gate);
    product(op.up, op.up_bias, plan.up);
  }
}

void Execution::Experts::activate(int64_t n_pairs, const ActTiles& tiles) const {
  const int64_t n_ff = plan.n_ff;
  const int f = forms({op.down}, true);
  const auto* pairs = mine<int32_t>(plan.pairs);
  const auto [begin, end] = e.worker_.share(n_pairs, kTileTokens);
  for (int64_t p = begin; p < end; ++p) {
    if (pairs[p] < 0) {
      if (f != 0) clear_in_tiles(p, tiles);
      continue;
    }
    float* gate = shared<float>(plan.gate) + p * n_ff;
    gated_activation(gate_of(op.activation), gate, shared<float>(plan.up) + p * n_ff, n_ff, gate);
    if (f != 0) quantize_to_tiles(gate, p, f, ActRow::at(e.thread_, n_ff), tiles);
  }
}

void Execution::Experts::down(const ActTiles& tiles) const {
  const int64_t n_embd = plan.n_embd;
  const auto* pairs = mine<int32_t>(plan.pairs);
  const auto* weights = shared<float>(plan.weights);
  auto* y = shared<float>(plan.out);  // rows of all threads, of which this one uses its own columns
  const auto [begin, end] = e.worker_.share(superrows(n_embd));
  if (begin == end) return;
  for (int64_t x = 0; x < op.n_expert; ++x) {
    const Span span = pairs_of(x);
    if (span.n == 0) continue;
    many_product(op.down, x, tiles, shared<float>(plan.gate), plan.n_ff,
                 {y, n_embd, bias(op.down_bias, x, n_embd), false}, begin, end);
    for (int64_t i = 0; i < span.n; ++i) {
      const int32_t pair = pairs[span.begin + i];
      float* out = e.row(op.out, pair / op.n_used);
      for (int64_t c = begin * kSuperrow; c < std::min(n_embd, end * kSuperrow); ++c)
        out[c] += weights[pair] * y[i * n_embd + c];
    }
  }
}

void Execution::Experts::many_tokens(int64_t n) {
  const auto [begin, end] = e.worker_.share(n);
  for (int64_t t = begin; t < end; ++t)
    route(t, shared<int32_t>(plan.ids) + t * op.n_used, shared<float>(plan.weights) + t * op.n_used);
  e.worker_.barrier();
  const int64_t n_pairs = order_pairs(n);
  uint8_t* memory = e.b_.scratch_.get() + e.b_.plan_.tiles;
  ActTiles tiles = ActTiles::at(memory, plan.n_embd, n_pairs);
  load_inputs(n_pairs, tiles);
  e.worker_.barrier();
  gate_and_up(tiles);
  e.worker_.barrier();
  tiles = ActTiles::at(memory, plan.n_ff, n_pairs);
  activate(n_pairs, tiles);
  e.worker_.barrier();
  down(tiles);
}

void Execution::operator()(const ExpertsStep& s) {
  const int64_t n = rows_of(s.op.in);
  if (n == 1)
    Experts(*this, s.op).one_token();
  else if (n > 1)
    Experts(*this, s.op).many_tokens(n);
}

}  // namespace nutshell::cpu
