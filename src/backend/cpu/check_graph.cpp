// Whether a graph's ids, shapes and extents fit each other: what make_program() and the kernels take for
// granted.
#include <algorithm>

#include "backend/cpu/program.h"
#include "kernels/rotate.h"
#include "quant/trellis.h"

namespace nutshell::cpu {
namespace {

constexpr int64_t kMaxExperts = 4096;

// Collects the first thing that does not fit.
class Checker {
 public:
  Checker(const Graph& graph, int64_t n_ctx) : graph_(graph), n_ctx_(n_ctx) {}
  Status status;

  void fail(const std::string& what) {
    if (status.ok()) status = {ErrorCode::bad_shape, what};
  }
  void expect(bool ok, const char* what, int64_t got, int64_t wanted) {
    if (!ok) fail(std::string(what) + ": " + std::to_string(got) + ", expected " + std::to_string(wanted));
  }
  bool act_ok(ActId id) {
    const bool ok = id >= 0 && static_cast<size_t>(id) < graph_.acts.size();
    if (!ok) fail("an op names activation " + std::to_string(id) + ", which does not exist");
    return ok;
  }
  void act(ActId id, int64_t width) {
    if (!act_ok(id)) return;
    const int64_t got = graph_.acts[static_cast<size_t>(id)].width;
    expect(got == width, "activation width", got, width);
  }
  const WeightSpec* weight(WeightId id) {
    if (id >= 0 && static_cast<size_t>(id) < graph_.weights.size())
      return &graph_.weights[static_cast<size_t>(id)];
    fail("an op names weight " + std::to_string(id) + ", which does not exist");
    return nullptr;
  }
  void vector(WeightId id, int64_t n) {
    const WeightSpec* w = weight(id);
    if (w != nullptr && (w->n_rows != 1 || w->n_cols != n || !(w->use & kUseVector)))
      fail("'" + w->name + "' is " + std::to_string(w->n_rows) + " x " + std::to_string(w->n_cols) +
           ", expected a vector of " + std::to_string(n));
  }
  void rotation(int32_t id, int64_t n) {
    if (id == kNone) return;
    if (id < 0 || static_cast<size_t>(id) >= graph_.rotations.size()) return fail("no such rotation");
    const int64_t got = graph_.rotations[static_cast<size_t>(id)].width;
    expect(got == n, "width of a rotation", got, n);
  }
  int64_t width(ActId id) { return act_ok(id) ? graph_.acts[static_cast<size_t>(id)].width : 0; }

  void operator()(const EmbedOp& o) {
    if (const WeightSpec* w = weight(o.table)) {
      act(o.out, w->n_cols);
      if (!(w->use & kUseTable)) fail("'" + w->name + "' is looked up but not a table");
      if (o.by == EmbedBy::position && w->n_rows < n_ctx_)
        expect(false, "positions of the context", n_ctx_, w->n_rows);
      rotation(o.rotation, w->n_cols);
    }
  }
  void operator()(const RmsNormOp& o) {
    act(o.out, width(o.in));
    vector(o.weight, o.group);
    if (o.group <= 0 || width(o.in) % o.group != 0)
      expect(false, "width of a norm that groups do not divide", width(o.in), o.group);
  }
  void operator()(const LayerNormOp& o) {
    act(o.out, width(o.in));
    vector(o.weight, width(o.in));
    if (o.bias != kNone) vector(o.bias, width(o.in));
  }
  void operator()(const SoftcapOp& o) {
    if (act_ok(o.x) && !(o.cap > 0)) fail("a soft cap is not positive");
  }
  void operator()(const LinearOp& o) {
    rotation(o.rotation, width(o.in));
    for (const LinearOp::Part& p : o.parts) {
      const WeightSpec* w = weight(p.weight);
      if (w == nullptr) continue;
      expect(w->n_cols == width(o.in), "columns of a matrix", w->n_cols, width(o.in));
      act(p.out, w->n_rows);
      if (!(w->use & kUseMatrix)) fail("'" + w->name + "' is multiplied but not a matrix");
      if (p.bias != kNone) vector(p.bias, w->n_rows);
      if (p.out == o.in) fail("'" + w->name + "' would overwrite its own input");
    }
  }
  void operator()(const RopeOp& o) {
    act(o.x, o.n_head * o.head_dim);
    if (o.rope < 0 || static_cast<size_t>(o.rope) >= graph_.ropes.size()) return fail("no such rope");
    const RopeSpec& r = graph_.ropes[static_cast<size_t>(o.rope)];
    if (o.offset < 0 || r.n_rot > o.head_dim - o.offset)
      expect(false, "rotated values per head", r.n_rot, o.head_dim);
  }
  void operator()(const AttentionOp& o) {
    if (o.n_head <= 0 || o.n_head_kv <= 0 || o.head_dim <= 0 || o.n_head % o.n_head_kv != 0)
      return expect(false, "query heads, not a multiple of the key heads", o.n_head, o.n_head_kv);
    for (const int64_t width : {o.head_dim, o.head_dim_v})
      if (width < 1 || width % 16 != 0) return expect(false, "head_dim, not a multiple of", width, 16);
    act(o.q, o.n_head * o.head_dim);
    act(o.k, o.n_head_kv * o.head_dim);
    act(o.v, o.n_head_kv * o.head_dim_v);
    act(o.out, o.n_head * o.head_dim_v);
    if (o.sinks != kNone) vector(o.sinks, o.n_head);
    if (o.layer < 0 || static_cast<size_t>(o.layer) >= graph_.kv_layers.size())
      return fail("no such KV layer");
    const KvSpec& kv = graph_.kv_layers[static_cast<size_t>(o.layer)];
    expect(kv.n_head_kv == o.n_head_kv, "key heads of the cache", kv.n_head_kv, o.n_head_kv);
    expect(kv.head_dim == o.head_dim, "head_dim of the cache", kv.head_dim, o.head_dim);
    expect(kv.head_dim_v == o.head_dim_v, "head_dim of the cache's values", kv.head_dim_v, o.head_dim_v);
  }
  void operator()(const GatedActivationOp& o) {
    act(o.gate, width(o.out));
    if (o.up != kNone) act(o.up, width(o.out));
  }
  void operator()(const AddOp& o) {
    act(o.a, width(o.out));
    act(o.b, width(o.out));
  }
  void operator()(const SelectRowsOp& o) { act(o.in, width(o.out)); }
  // Heads of `n` values, `stride` apart from `offset` on, lie within a row.
  void heads(ActId id, int64_t n_head, int64_t offset, int64_t stride, int64_t n) {
    const int64_t w = width(id);
    if (n_head < 1 || n < 1 || offset < 0 || stride < 0 || offset > w - n ||
        (stride > 0 && (w - n - offset) / stride < n_head - 1))
      expect(false, "heads within a row", n, w);
  }
  void operator()(const CopyHeadsOp& o) {
    heads(o.in, o.n_head, o.in_offset, o.in_stride, o.width);
    heads(o.out, o.n_head, o.out_offset, o.out_stride, o.width);
    if (o.in == o.out || (o.n_head > 1 && o.out_stride < o.width)) fail("heads would overwrite each other");
  }
  void operator()(const HeadLinearOp& o) {
    const WeightSpec* w = slices(o.weight, o.n_head);
    if (w == nullptr) return;
    heads(o.in, o.n_head, 0, o.in_stride, w->n_cols);
    heads(o.out, o.n_head, 0, o.out_stride, w->n_rows / o.n_head);
    if (o.in == o.out || (o.n_head > 1 && o.out_stride < w->n_rows / o.n_head))
      fail("'" + w->name + "' would overwrite its own input or output");
  }
  const WeightSpec* slices(WeightId id, int64_t n) {
    const WeightSpec* w = weight(id);
    if (w == nullptr) return nullptr;
    if (n < 1 || w->n_slices != n || !(w->use & kUseMatrix) || w->coded.runs.size() > 1 ||
        !w->coded.order.empty()) {
      fail("'" + w->name + "' has " + std::to_string(w->n_slices) + " matrices, expected " +
           std::to_string(n) + " of rows of one width");
      return nullptr;
    }
    return w;
  }
  void values(WeightId id, int64_t n_rows, int64_t n_cols) {
    if (id == kNone) return;
    const WeightSpec* w = weight(id);
    if (w != nullptr && (w->n_rows != n_rows || w->n_cols != n_cols || !(w->use & kUseVector)))
      fail("'" + w->name + "' is " + std::to_string(w->n_rows) + " x " + std::to_string(w->n_cols) +
           ", expected values of " + std::to_string(n_rows) + " x " + std::to_string(n_cols));
  }
  void experts_matrix(WeightId id, int64_t n_expert, int64_t n_out, int64_t n_in) {
    const WeightSpec* w = slices(id, n_expert);
    if (w == nullptr) return;
    expect(w->n_cols == n_in, "columns of an expert", w->n_cols, n_in);
    expect(w->n_rows / n_expert == n_out, "rows of an expert", w->n_rows / n_expert, n_out);
  }
  void operator()(const ExpertsOp& o) {
    const Router& r = o.router;
    if (o.n_expert < 1 || o.n_expert > kMaxExperts || o.n_used < 1 || o.n_used > o.n_expert)
      return expect(false, "experts used", o.n_used, o.n_expert);
    if (r.n_group < 1 || r.n_group > 64 || o.n_expert % r.n_group != 0 || r.n_group_used < 1 ||
        r.n_group_used > r.n_group || o.n_used > o.n_expert / r.n_group * r.n_group_used ||
        r.group_best < 1 || r.group_best > std::min<int64_t>(2, o.n_expert / r.n_group))
      return expect(false, "groups of experts", r.n_group, o.n_expert);
    const WeightSpec* gate = slices(o.gate, o.n_expert);
    if (gate == nullptr) return;
    const int64_t n_embd = width(o.in), n_ff = gate->n_rows / o.n_expert;
    act(o.logits, o.n_expert);
    act(o.out, n_embd);
    for (WeightId id : {o.gate, o.up}) experts_matrix(id, o.n_expert, n_ff, n_embd);
    experts_matrix(o.down, o.n_expert, n_embd, n_ff);
    for (WeightId id : {o.gate_bias, o.up_bias}) values(id, o.n_expert, n_ff);
    values(o.down_bias, o.n_expert, n_embd);
    values(o.selection_bias, 1, o.n_expert);
    if (o.out == o.in || o.out == o.logits) fail("experts would overwrite their own input");
  }
  void operator()(const ShortConvOp& o) {
    if (o.layer < 0 || static_cast<size_t>(o.layer) >= graph_.conv_layers.size())
      return fail("no such convolution layer");
    const ConvSpec& spec = graph_.conv_layers[static_cast<size_t>(o.layer)];
    expect(spec.width == o.width, "width of a convolution", spec.width, o.width);
    expect(spec.kernel == o.kernel, "length of a convolution", spec.kernel, o.kernel);
    act(o.in, 3 * o.width);
    act(o.out, o.width);
    if (o.weight == kNone) fail("a convolution without weights");
    values(o.weight, o.width, o.kernel);
  }

 private:
  const Graph& graph_;
  const int64_t n_ctx_;
};

// Of a trellis weight: runs that follow each other, with valid tables; an order that is a permutation.
bool valid_rows(const WeightSpec& w) {
  const TrellisRows& rows = w.coded;
  if (rows.runs.empty() || rows.runs[0].dtype != w.dtype || rows.runs[0].first_row != 0) return false;
  if ((rows.runs.size() > 1 || !rows.order.empty()) && w.n_slices > 1) return false;
  for (size_t i = 0; i < rows.runs.size(); ++i) {
    const TrellisRun& run = rows.runs[i];
    if (!is_trellis(run.dtype) || !valid_trellis(run.dtype, run.code) || run.first_row % kTrellisRows != 0 ||
        run.first_row >= rows.end_row(i, w.n_rows))
      return false;
  }
  if (rows.order.empty()) return true;
  if (static_cast<int64_t>(rows.order.size()) != w.n_rows) return false;
  std::vector<bool> seen(rows.order.size());
  for (const int32_t row : rows.order) {
    if (row < 0 || row >= w.n_rows || seen[static_cast<size_t>(row)]) return false;
    seen[static_cast<size_t>(row)] = true;
  }
  return true;
}

}  // namespace

Status check_graph(const Graph& graph, const Extents& e) {
  constexpr int64_t kMost = int64_t{1} << 31;
  if (e.n_ctx < 1 || e.n_ctx > kMost || e.max_tokens < 1 || e.max_tokens > kMost || e.max_outputs < 0 ||
      e.max_outputs > e.max_tokens)
    return {ErrorCode::invalid_argument, "extents: context " + std::to_string(e.n_ctx) +
                                             ", tokens per step " + std::to_string(e.max_tokens) +
                                             ", outputs per step " + std::to_string(e.max_outputs)};
  Checker check(graph, e.n_ctx);
  for (const ActSpec& a : graph.acts)
    if (a.width < 1 || a.width > kMost) check.expect(false, "activation width", a.width, 1);
  for (const ActSpec& a : graph.acts)  // so that no sum below overflows; 2^36 values are 256 GiB
    if (a.width > (int64_t{1} << 36) / e.max_tokens)
      return {ErrorCode::out_of_memory, "an activation of " + std::to_string(a.width) + " x " +
                                            std::to_string(e.max_tokens) + " values"};
  for (const WeightSpec& w : graph.weights) {
    if (w.n_rows < 1 || w.n_cols < 1 || w.n_rows > kMost || w.n_cols > kMost || w.n_slices < 1 ||
        w.n_rows % w.n_slices != 0 || w.n_cols % info_of(w.dtype).block_length != 0)
      check.fail("'" + w.name + "' is " + std::to_string(w.n_rows) + " x " + std::to_string(w.n_cols) +
                 ", not whole blocks of " + std::string(name_of(w.dtype)));
    if (is_trellis(w.dtype) && ((w.use & kUseVector) || !valid_rows(w)))
      check.fail("'" + w.name + "' has tables or runs of rows outside the format's limits");
  }
  for (const RotationSpec& r : graph.rotations)
    if (r.width < 1 || r.width > kMost || rotation_odd(r.width) > kMaxRotationOdd)
      check.fail("a rotation of width " + std::to_string(r.width) + ": its odd part may be at most " +
                 std::to_string(kMaxRotationOdd));
  for (const RopeSpec& r : graph.ropes)
    if (r.n_rot < 0 || r.n_rot % 2 != 0 || r.inv_freq.size() != static_cast<size_t>(r.n_rot / 2))
      check.expect(false, "frequencies of a rope", static_cast<int64_t>(r.inv_freq.size()), r.n_rot / 2);
  for (const KvSpec& kv : graph.kv_layers)
    if (kv.n_head_kv < 1 || kv.head_dim < 1 || kv.head_dim_v < 1 || kv.n_head_kv > kMost ||
        kv.head_dim > kMost / 2 || kv.head_dim_v > kMost / 2)
      check.fail("a KV layer has no heads");
  for (const ConvSpec& c : graph.conv_layers)
    if (c.width < 1 || c.width > kMost / 3 || c.kernel < 2 || c.kernel > kMaxConvKernel)
      check.expect(false, "length of a convolution", c.kernel, kMaxConvKernel);
  for (const Op& op : graph.ops) std::visit(check, op);
  if (graph.logits != kNone) check.act_ok(graph.logits);
  if (!check.status.ok()) return check.status;
  for (const Op& op : graph.ops)  // so that no sum of work space overflows
    if (const auto* x = std::get_if<ExpertsOp>(&op)) {
      const int64_t n_ff = graph.weights[static_cast<size_t>(x->down)].n_cols;
      const int64_t widest = std::max(n_ff, graph.acts[static_cast<size_t>(x->in)].width);
      if (widest > (int64_t{1} << 36) / e.max_tokens / (x->n_used + kMaxExperts))
        return {ErrorCode::out_of_memory, "experts of " + std::to_string(widest) + " values for " +
                                              std::to_string(e.max_tokens) + " tokens at a time"};
    }
  return {};
}

}  // namespace nutshell::cpu
