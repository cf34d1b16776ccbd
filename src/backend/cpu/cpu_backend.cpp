// Memory and uploads; the running of steps is in execute.cpp.
#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "kernels/pack.h"
#include "kernels/tune.h"
#include "quant/trellis.h"

namespace nutshell::cpu {
namespace {

constexpr uint64_t kAlign = 64;
uint64_t align_up(uint64_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

Memory take(uint64_t bytes) {
  const uint64_t rounded = align_up(std::max<uint64_t>(bytes, 1));
  if (rounded > SIZE_MAX / 2 || rounded > uint64_t{1} << 40)
    return nullptr;  // no machine has more than a TiB for us
  auto* p = static_cast<uint8_t*>(std::aligned_alloc(kAlign, static_cast<size_t>(rounded)));
  return Memory(p);
}

// Nothing when the size does not fit 64 bits.
std::optional<uint64_t> weight_bytes(const WeightSpec& w) {
  if (is_trellis(w.dtype)) {
    std::optional<uint64_t> total = 0;
    for (size_t i = 0; i < w.coded.runs.size() && total; ++i) {
      const TrellisRun& run = w.coded.runs[i];
      const auto bytes = packed_bytes(run.dtype, w.coded.end_row(i, w.n_rows) - run.first_row, w.n_cols);
      total = bytes ? checked_add(*total, *bytes) : bytes;
    }
    return total;
  }
  if (is_packed(w)) return packed_bytes(w.dtype, w.n_rows, w.n_cols);
  if (w.use & kUseVector) return checked_mul(4, static_cast<uint64_t>(w.n_rows * w.n_cols));
  return checked_mul(static_cast<uint64_t>(w.n_rows), static_cast<uint64_t>(row_bytes(w.dtype, w.n_cols)));
}

int64_t padded_context(const Extents& e) { return (e.n_ctx + 15) / 16 * 16; }

KvShape kv_shape(const KvSpec& kv, const Extents& e) {
  return {kv.n_head_kv, kv.head_dim, kv.head_dim_v, padded_context(e)};
}

// Nothing when the size does not fit 64 bits; 16 bytes per value bound what kv_bytes adds up.
std::optional<uint64_t> kv_layer_bytes(const KvSpec& kv, const Extents& e) {
  const auto bound = checked_mul(static_cast<uint64_t>(kv.n_head_kv * (kv.head_dim + kv.head_dim_v)),
                                 static_cast<uint64_t>(padded_context(e)) * 16);
  return bound ? std::optional(kv_bytes(kv_shape(kv, e)).total()) : bound;
}

Status too_big(const std::string& what) {
  return {ErrorCode::out_of_memory, what + " does not fit any memory"};
}

// Largest per-thread work space of any step.
uint64_t work_bytes(const Graph& graph, const Extents& extents) {
  uint64_t work = 0;
  for (const Op& op : graph.ops) {
    if (const auto* a = std::get_if<AttentionOp>(&op)) {
      const AttentionShape shape = shape_of(*a);
      const uint64_t head = static_cast<uint64_t>((shape.group() + 1) * a->head_dim) * sizeof(float);
      work = std::max<uint64_t>(work,
                                align_up(head) + attend_chunk_scratch_bytes(shape, padded_context(extents)));
      work = std::max<uint64_t>(work, attend_block_scratch_bytes(shape));
    } else if (const auto* l = std::get_if<LinearOp>(&op)) {
      for (const LinearOp::Part& p : l->parts) {
        const WeightSpec& w = graph.weights[static_cast<size_t>(p.weight)];
        const uint64_t dense = static_cast<uint64_t>(w.n_cols) * sizeof(float);
        work = std::max<uint64_t>(work, is_packed(w) ? matmul_scratch_bytes(w.dtype, w.n_cols) : dense);
      }
    } else if (const auto* e = std::get_if<EmbedOp>(&op)) {
      work = std::max<uint64_t>(
          work, static_cast<uint64_t>(graph.weights[static_cast<size_t>(e->table)].n_cols) * 4);
    } else if (const auto* h = std::get_if<HeadLinearOp>(&op)) {
      work = std::max<uint64_t>(
          work, static_cast<uint64_t>(graph.weights[static_cast<size_t>(h->weight)].n_cols) * 4);
    } else if (const auto* x = std::get_if<ExpertsOp>(&op)) {
      work = std::max<uint64_t>(work, plan_experts(graph, *x, extents.max_tokens).thread);
    }
  }
  return work;
}

// Ops that one token and several go through alike, or in both forms (linear, attention).
int64_t few_tokens_of(const Graph& graph) {
  const bool all = std::all_of(graph.ops.begin(), graph.ops.end(), [](const Op& op) {
    if (const auto* a = std::get_if<AttentionOp>(&op)) return a->causal;
    return !std::holds_alternative<CopyHeadsOp>(op) && !std::holds_alternative<HeadLinearOp>(op) &&
           !std::holds_alternative<ExpertsOp>(op) && !std::holds_alternative<ShortConvOp>(op);
  });
  return all ? kFewTokens : 1;
}

ScratchPlan plan_scratch(const Graph& graph, const Extents& extents, const Program& program, int n_threads) {
  ScratchPlan p;
  int64_t rope_floats = 0, partial = 0;
  uint64_t experts = 0, expert_tiles = 0;
  for (const Op& op : graph.ops) {
    if (const auto* x = std::get_if<ExpertsOp>(&op)) {
      const ExpertsPlan e = plan_experts(graph, *x, extents.max_tokens);
      const int64_t widest = std::max(e.n_embd, e.n_ff);
      p.max_cols = std::max(p.max_cols, widest);
      experts = std::max(experts, e.shared);
      expert_tiles = std::max<uint64_t>(
          expert_tiles, align_up(ActTiles::bytes_needed((widest + 255) / 256 * 256, e.max_pairs)));
    }
    if (const auto* h = std::get_if<HeadLinearOp>(&op))
      p.max_cols = std::max(p.max_cols, graph.weights[static_cast<size_t>(h->weight)].n_cols);
    if (const auto* l = std::get_if<LinearOp>(&op))
      p.max_cols = std::max(p.max_cols, graph.acts[static_cast<size_t>(l->in)].width);
    if (const auto* a = std::get_if<AttentionOp>(&op))
      partial = std::max(partial, a->n_head * kMaxChunks * partial_floats(a->head_dim_v));
  }
  for (const RopeSpec& r : graph.ropes) rope_floats += (r.n_rot + 3) / 4 * 4;
  const auto bytes = [](int64_t floats) { return align_up(static_cast<uint64_t>(floats) * sizeof(float)); };
  const int64_t cols = (p.max_cols + 255) / 256 * 256;
  p.acts = 0;
  p.tiles = bytes(program.act_floats);
  const uint64_t tiles = align_up(ActTiles::bytes_needed(cols, extents.max_tokens));
  p.rows = p.tiles + (extents.max_tokens > 1 ? std::max(tiles, expert_tiles) : 0);
  // f32 rows made by a source, when a weight of the generic path reads them.
  bool dense = false;
  for (const WeightSpec& w : graph.weights) dense |= (w.use & kUseMatrix) && !is_packed(w);
  p.partials = p.rows + (dense && extents.max_tokens > 1 ? bytes(extents.max_tokens * p.max_cols) : 0);
  const int64_t few = std::min<int64_t>(few_tokens_of(graph), extents.max_tokens);
  p.partials_floats = partial;
  p.ropes = p.partials + bytes(partial * few);
  p.experts = p.ropes + bytes(rope_floats * extents.max_tokens);
  p.threads = p.experts + experts;
  p.few_rows = align_up(ActRow::bytes_needed(cols));
  p.thread_input = p.few_rows * static_cast<uint64_t>(few);
  p.thread_work = p.thread_input + bytes(p.max_cols);
  p.thread_bytes = p.thread_work + align_up(work_bytes(graph, extents));
  p.total = p.threads + p.thread_bytes * static_cast<uint64_t>(n_threads);
  return p;
}

std::optional<uint64_t> conv_layer_bytes(const ConvSpec& c, const Extents& e) {
  const auto rows = static_cast<uint64_t>(kConvRing + e.n_ctx / kConvRing * (c.kernel - 1));
  return checked_mul(rows, static_cast<uint64_t>(c.width) * sizeof(float));
}

}  // namespace

// A matrix of a 3-D tensor starts at a superrow: others take the generic path.
bool is_packed(const WeightSpec& w) {
  return (is_trellis(w.dtype) || (w.use & kUseMatrix)) &&
         packed_bytes(w.dtype, w.n_rows, w.n_cols).has_value() &&
         (w.n_slices == 1 || w.n_rows / w.n_slices % kSuperrow == 0);
}

ExpertsPlan plan_experts(const Graph& graph, const ExpertsOp& op, int64_t max_tokens) {
  const auto weight = [&](WeightId id) -> const WeightSpec& {
    return graph.weights[static_cast<size_t>(id)];
  };
  ExpertsPlan p;
  p.n_embd = weight(op.gate).n_cols;
  p.n_ff = weight(op.down).n_cols;
  const int64_t chosen = max_tokens * op.n_used;
  p.max_pairs = (chosen + (kTileTokens - 1) * std::min(op.n_expert, chosen) + 3) / 4 * 4;
  const auto place = [](uint64_t& total, int64_t values) {
    return std::exchange(total, total + align_up(static_cast<uint64_t>(values) * 4));
  };
  const bool dense = !is_packed(weight(op.gate)) || !is_packed(weight(op.up));
  p.ids = place(p.shared, chosen);
  p.weights = place(p.shared, chosen);
  p.gate = place(p.shared, p.max_pairs * p.n_ff);
  p.up = place(p.shared, p.max_pairs * p.n_ff);
  p.in = place(p.shared, dense ? p.max_pairs * p.n_embd : 0);
  p.out = place(p.shared, max_tokens * p.n_embd);
  p.route = place(p.thread, 2 * op.n_expert + 2 * op.n_used);
  p.starts = place(p.thread, op.n_expert + 1);
  p.pairs = place(p.thread, p.max_pairs);
  p.row = place(p.thread, p.n_embd);
  p.kernel = p.thread;
  uint64_t kernel = static_cast<uint64_t>(std::max(p.n_embd, p.n_ff)) * 4;
  for (WeightId id : {op.gate, op.up, op.down})
    if (is_packed(weight(id)))
      kernel = std::max<uint64_t>(kernel, matmul_scratch_bytes(weight(id).dtype, weight(id).n_cols));
  p.thread += align_up(kernel);
  return p;
}

PackedMatrix Weight::matrix(int64_t slice) const {
  const auto superrow = static_cast<int64_t>(packed_bytes(spec.dtype, 1, spec.n_cols).value_or(0));
  const int64_t rows = slice_rows();
  return {spec.dtype,  rows,
          spec.n_cols, memory.get() + slice * (rows / kSuperrow) * superrow,
          superrow,    is_trellis(spec.dtype) ? &spec.coded.runs[0].code : nullptr};
}

PackedMatrix Weight::run(size_t i) const {
  if (!is_trellis(spec.dtype)) return matrix();
  const uint8_t* data = memory.get();
  for (size_t k = 0;; ++k) {
    const TrellisRun& run = spec.coded.runs[k];
    const int64_t n_rows = spec.coded.end_row(k, spec.n_rows) - run.first_row;
    const int64_t superrow = trellis_superrow_bytes(run.dtype, spec.n_cols);
    if (k == i)
      return {run.dtype,
              n_rows,
              spec.n_cols,
              data,
              superrow,
              &run.code,
              spec.coded.order.empty() ? nullptr : &spec.coded.order[static_cast<size_t>(run.first_row)]};
    data += (n_rows + kSuperrow - 1) / kSuperrow * superrow;
  }
}

void Weight::decode(int64_t row, float* out) const {
  if (!packed)
    return decode_row(spec.dtype, memory.get() + row * row_bytes(spec.dtype, spec.n_cols), spec.n_cols, out);
  if (!places.empty()) row = places[static_cast<size_t>(row)];
  size_t i = 0;
  while (i + 1 < n_runs() && first_row(i + 1) <= row) ++i;
  const PackedMatrix m = run(i);
  row -= first_row(i);
  const uint8_t* superrow = m.data + row / kSuperrow * m.superrow_bytes;
  const auto r = static_cast<int>(row % kSuperrow);
  if (is_trellis(m.dtype))
    decode_trellis_row(m.dtype, *m.code, superrow, r, m.n_cols, out);
  else
    unpack_row(m.dtype, superrow, r, m.n_cols, out);
}

AttentionShape shape_of(const AttentionOp& op) {
  return {op.n_head, op.n_head_kv, op.head_dim, op.head_dim_v, op.scale,
          op.window, op.softcap,   nullptr,     op.causal};
}

Result<MemoryNeeds> CpuBackend::plan(const Graph& graph, const Extents& extents) const {
  RETURN_IF_ERROR(check_graph(graph, extents));
  MemoryNeeds needs;
  for (const WeightSpec& w : graph.weights) {
    const auto bytes = weight_bytes(w);
    const auto sum = bytes ? checked_add(needs.weights_bytes, align_up(*bytes)) : bytes;
    if (!sum) return too_big("the tensor '" + w.name + "'");
    needs.weights_bytes = *sum;
  }
  for (const KvSpec& kv : graph.kv_layers) {
    const auto bytes = kv_layer_bytes(kv, extents);
    const auto sum = bytes ? checked_add(needs.kv_bytes, align_up(*bytes)) : bytes;
    if (!sum) return too_big("the KV cache");
    needs.kv_bytes = *sum;
  }
  for (const ConvSpec& c : graph.conv_layers) {
    const auto bytes = conv_layer_bytes(c, extents);
    const auto sum = bytes ? checked_add(needs.kv_bytes, align_up(*bytes)) : bytes;
    if (!sum) return too_big("the state of the convolutions");
    needs.kv_bytes = *sum;
  }
  needs.scratch_bytes = plan_scratch(graph, extents, make_program(graph, extents), pool_.max_threads()).total;
  for (const RotationSpec& r : graph.rotations) {  // signs and the small matrix
    const int64_t m = rotation_odd(r.width);
    needs.scratch_bytes += static_cast<uint64_t>(r.width + m * m) * sizeof(float);
  }
  return needs;
}

Status CpuBackend::allocate(Graph graph, const Extents& extents) {
  ASSIGN_OR_RETURN(const MemoryNeeds needs, plan(graph, extents));
  const Status no_memory(ErrorCode::out_of_memory,
                         "the model needs " + std::to_string(needs.total()) + " bytes (weights " +
                             std::to_string(needs.weights_bytes) + ", context " +
                             std::to_string(needs.kv_bytes) + ", work space " +
                             std::to_string(needs.scratch_bytes) + "), which could not be had");
  std::vector<Weight> weights;
  for (const WeightSpec& spec : graph.weights) {
    weights.push_back({spec, is_packed(spec), take(weight_bytes(spec).value_or(0)), {}});
    if (weights.back().memory == nullptr) return no_memory;
    if (spec.use & kUseTable) {
      std::vector<int32_t>& places = weights.back().places;
      places.resize(spec.coded.order.size());
      for (size_t r = 0; r < places.size(); ++r)
        places[static_cast<size_t>(spec.coded.order[r])] = static_cast<int32_t>(r);
    }
  }
  std::vector<Memory> kv_memory;
  std::vector<KvLayer> kv;
  for (const KvSpec& spec : graph.kv_layers) {
    const uint64_t bytes = kv_layer_bytes(spec, extents).value_or(0);
    kv_memory.push_back(take(bytes));
    if (kv_memory.back() == nullptr) return no_memory;
    kv.push_back(kv_layer_at(kv_memory.back().get(), kv_shape(spec, extents)));
  }
  std::vector<Memory> conv_memory;
  std::vector<ConvLayer> conv;
  for (const ConvSpec& spec : graph.conv_layers) {
    const uint64_t bytes = conv_layer_bytes(spec, extents).value_or(0);
    conv_memory.push_back(take(bytes));
    if (conv_memory.back() == nullptr) return no_memory;
    std::memset(conv_memory.back().get(), 0, static_cast<size_t>(bytes));
    auto* ring = reinterpret_cast<float*>(conv_memory.back().get());
    conv.push_back({ring, ring + kConvRing * spec.width, spec.width, spec.kernel});
  }
  Program program = make_program(graph, extents);
  const ScratchPlan plan = plan_scratch(graph, extents, program, pool_.max_threads());
  Memory scratch = take(plan.total);
  if (scratch == nullptr) return no_memory;
  rotations_.clear();
  for (const RotationSpec& r : graph.rotations) rotations_.push_back(make_rotation(r.width, r.seed));
  graph_ = std::move(graph);
  extents_ = extents;
  program_ = std::move(program);
  plan_ = plan;
  weights_ = std::move(weights);
  kv_memory_ = std::move(kv_memory);
  kv_ = std::move(kv);
  conv_memory_ = std::move(conv_memory);
  conv_ = std::move(conv);
  scratch_ = std::move(scratch);
  kv_clean_ = 0;
  conv_end_ = 0;
  conv_from_ = -conv_reach();
  n_outputs_ = 0;
  return {};
}

int64_t CpuBackend::upload_row_multiple(WeightId weight) const {
  if (weight < 0 || static_cast<size_t>(weight) >= weights_.size()) return 1;
  return weights_[static_cast<size_t>(weight)].packed ? kSuperrow : 1;
}

Status CpuBackend::upload(WeightId id, int64_t row0, int64_t n_rows, std::span<const uint8_t> bytes) {
  if (id < 0 || static_cast<size_t>(id) >= weights_.size())
    return {ErrorCode::invalid_argument, "no weight " + std::to_string(id)};
  Weight& w = weights_[static_cast<size_t>(id)];
  size_t run = 0;
  while (run + 1 < w.n_runs() && w.first_row(run + 1) <= row0) ++run;
  const DType dtype = w.n_runs() > 1 ? w.spec.coded.runs[run].dtype : w.spec.dtype;
  const int64_t end = w.n_runs() > 1 ? w.spec.coded.end_row(run, w.spec.n_rows) : w.spec.n_rows;
  const int64_t in_row = row_bytes(dtype, w.spec.n_cols);
  if (row0 < 0 || n_rows < 0 || row0 > end || n_rows > end - row0 ||
      bytes.size() != static_cast<uint64_t>(stored_rows(dtype, n_rows)) * static_cast<uint64_t>(in_row))
    return {ErrorCode::invalid_argument, "'" + w.spec.name + "': rows " + std::to_string(row0) + " + " +
                                             std::to_string(n_rows) + " of " + std::to_string(w.spec.n_rows) +
                                             " do not fit " + std::to_string(bytes.size()) + " bytes"};
  if (w.packed) return upload_packed(w, run, row0, n_rows, bytes.data());
  if (w.spec.use & kUseVector) {
    auto* to = reinterpret_cast<float*>(w.memory.get()) + row0 * w.spec.n_cols;
    for (int64_t r = 0; r < n_rows; ++r)
      decode_row(w.spec.dtype, bytes.data() + r * in_row, w.spec.n_cols, to + r * w.spec.n_cols);
    return {};
  }
  if (!bytes.empty()) std::memcpy(w.memory.get() + row0 * in_row, bytes.data(), bytes.size());
  return {};
}

Status CpuBackend::upload_packed(Weight& w, size_t run, int64_t row0, int64_t n_rows, const uint8_t* bytes) {
  const PackedMatrix m = w.run(run);
  const int64_t first = row0 - w.first_row(run);
  if (first % kSuperrow != 0 || (n_rows % kSuperrow != 0 && first + n_rows != m.n_rows))
    return {ErrorCode::invalid_argument,
            "'" + w.spec.name + "': rows come in multiples of " + std::to_string(kSuperrow)};
  const int64_t in_row = row_bytes(m.dtype, m.n_cols);
  uint8_t* data = w.memory.get() + (m.data - w.memory.get()) + first / kSuperrow * m.superrow_bytes;
  std::atomic<bool> bad = false;
  pool_.run([&](Worker& worker) {
    const auto [begin, end] = worker.share((n_rows + kSuperrow - 1) / kSuperrow);
    for (int64_t s = begin; s < end; ++s) {
      const int n = static_cast<int>(std::min<int64_t>(kSuperrow, n_rows - s * kSuperrow));
      uint8_t* to = data + s * m.superrow_bytes;
      if (!pack_superrow(m.dtype, bytes + s * kSuperrow * in_row, n, m.n_cols, to).ok()) bad = true;
    }
  });
  if (bad)
    return {ErrorCode::corrupt_file,
            "the tensor '" + w.spec.name + "' has a scale that is not a finite number"};
  return {};
}

float* CpuBackend::act(ActId id) const {
  return reinterpret_cast<float*>(scratch_.get() + plan_.acts) +
         program_.act_offsets[static_cast<size_t>(id)];
}

int64_t CpuBackend::conv_reach() const {
  int64_t reach = 0;
  for (const ConvLayer& c : conv_) reach = std::max(reach, c.kernel - 1);
  return reach;
}

int64_t CpuBackend::resume_point(int64_t n_past) const {
  if (conv_.empty()) return n_past;
  n_past = std::min(n_past, conv_end_);
  return n_past - conv_reach() >= conv_from_ ? n_past : n_past / kConvRing * kConvRing;
}

int64_t CpuBackend::few_tokens() const {
  return std::min<int64_t>(few_tokens_of(graph_), extents_.max_tokens);
}

void CpuBackend::clear_until(int64_t position) {
  constexpr int64_t kAtOnce = 128;
  if (position <= kv_clean_) return;
  const int64_t end = std::min((position + kAtOnce - 1) / kAtOnce * kAtOnce, padded_context(extents_));
  for (const KvLayer& kv : kv_) kv_clear(kv, kv_clean_, end);
  kv_clean_ = end;
}

Status CpuBackend::run(const Step& step) {
  const auto n = static_cast<int64_t>(step.tokens.size());
  const auto n_outputs = static_cast<int64_t>(step.output_rows.size());
  if (n < 1 || n > extents_.max_tokens || step.n_past < 0 || step.n_past > extents_.n_ctx - n ||
      n_outputs > extents_.max_outputs)
    return {ErrorCode::invalid_argument,
            "a step of " + std::to_string(n) + " tokens and " + std::to_string(n_outputs) +
                " outputs at position " + std::to_string(step.n_past) + " is outside the extents (context " +
                std::to_string(extents_.n_ctx) + ", tokens " + std::to_string(extents_.max_tokens) +
                ", outputs " + std::to_string(extents_.max_outputs) + ")"};
  if (step.one_by_one && n > few_tokens())
    return {ErrorCode::invalid_argument, "a step of " + std::to_string(n) + " tokens one by one; " +
                                             std::to_string(few_tokens()) + " are possible"};
  for (int64_t i = 0; i < n_outputs; ++i) {
    const int32_t r = step.output_rows[static_cast<size_t>(i)];
    if (r < 0 || r >= n || (i > 0 && r <= step.output_rows[static_cast<size_t>(i) - 1]))
      return {ErrorCode::invalid_argument, "output row " + std::to_string(r) + " of " + std::to_string(n)};
  }
  for (const Op& op : graph_.ops) {
    const auto* embed = std::get_if<EmbedOp>(&op);
    if (embed == nullptr || embed->by != EmbedBy::token) continue;
    const int64_t n_vocab = weights_[static_cast<size_t>(embed->table)].spec.n_rows;
    for (int32_t token : step.tokens)
      if (token < 0 || token >= n_vocab)
        return {ErrorCode::invalid_argument,
                "token " + std::to_string(token) + " of a vocabulary of " + std::to_string(n_vocab)};
  }
  if (resume_point(step.n_past) != step.n_past)
    return {ErrorCode::invalid_argument, "a step cannot go on at position " + std::to_string(step.n_past) +
                                             "; it can at " + std::to_string(resume_point(step.n_past))};
  clear_until(step.n_past + n);
  if (!chosen_dot_) chosen_dot_ = best_dot();
  dot_ = *chosen_dot_;
  pool_.run([&](Worker& worker) { Execution(*this, step, worker).run(); });
  n_outputs_ = n_outputs;
  if (!conv_.empty()) {
    const int64_t reach = conv_reach();
    if (step.n_past - reach < conv_from_) conv_from_ = step.n_past - reach;  // from a snapshot
    conv_end_ = step.n_past + n;
    conv_from_ = std::max(conv_from_, conv_end_ - kConvRing);
  }
  return {};
}

std::span<const float> CpuBackend::logits(int64_t i) const {
  if (i < 0 || i >= n_outputs_ || graph_.logits == kNone) return {};
  const auto width = static_cast<size_t>(graph_.acts[static_cast<size_t>(graph_.logits)].width);
  return {act(graph_.logits) + static_cast<size_t>(i) * width, width};
}

std::unique_ptr<CpuBackend> make_backend(ThreadPool& pool, std::optional<Dot> dot) {
  return std::unique_ptr<CpuBackend>(new (std::nothrow) CpuBackend(pool, dot));
}

}  // namespace nutshell::cpu

namespace nutshell {

std::unique_ptr<Backend> make_cpu_backend(ThreadPool& pool) { return cpu::make_backend(pool, std::nullopt); }

}  // namespace nutshell
