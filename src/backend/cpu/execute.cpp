// The steps of a program on one thread of many. Work is cut only over independent outputs (rows of weights,
// tokens, heads and position chunks), never over a sum: results are the same bits for any number of threads.
#include <algorithm>
#include <cstring>

#include "backend/cpu/cpu_backend.h"
#include "kernels/rows.h"

namespace nutshell::cpu {
namespace {

RotaryPairs pairs_of(RopeStyle s) {
  return s == RopeStyle::half ? RotaryPairs::half : RotaryPairs::interleaved;
}

}  // namespace

Gate gate_of(Activation a) {
  switch (a) {
    case Activation::gelu_tanh:
      return Gate::gelu_tanh;
    case Activation::gelu_erf:
      return Gate::gelu_erf;
    case Activation::swiglu_clamped:
      return Gate::swiglu_clamped;
    case Activation::silu:
      break;
  }
  return Gate::silu;
}

Execution::Execution(const CpuBackend& backend, const Step& step, Worker& worker)
    : b_(backend),
      step_(step),
      worker_(worker),
      n_tokens_(static_cast<int64_t>(step.tokens.size())),
      few_(step.one_by_one || step.tokens.size() == 1),
      thread_(backend.scratch_.get() + backend.plan_.threads +
              backend.plan_.thread_bytes * static_cast<uint64_t>(worker.thread())) {}

void Execution::run() {
  make_rope_tables();
  bool first = true;
  for (const Step_& s : b_.program_.steps) {
    if (!first) worker_.barrier();
    first = false;
    std::visit([this](const auto& step) { (*this)(step); }, s);
  }
}

int64_t Execution::rows_of(ActId id) const {
  return b_.graph_.acts[static_cast<size_t>(id)].per_output ? static_cast<int64_t>(step_.output_rows.size())
                                                            : n_tokens_;
}

float* Execution::rope_at(int32_t rope, int64_t t) const {
  auto* p = reinterpret_cast<float*>(b_.scratch_.get() + b_.plan_.ropes);
  for (int32_t i = 0; i < rope; ++i)
    p += (b_.graph_.ropes[static_cast<size_t>(i)].n_rot + 3) / 4 * 4 * b_.extents_.max_tokens;
  return p + t * ((b_.graph_.ropes[static_cast<size_t>(rope)].n_rot + 3) / 4 * 4);
}

void Execution::make_rope_tables() {
  const auto [begin, end] = worker_.share(n_tokens_);
  for (size_t r = 0; r < b_.graph_.ropes.size(); ++r) {
    const RopeSpec& spec = b_.graph_.ropes[r];
    for (int64_t t = begin; t < end; ++t)
      rope_table(spec.inv_freq, spec.magnitude, step_.n_past + t, rope_at(static_cast<int32_t>(r), t));
  }
}

void Execution::operator()(const EmbedStep& s) {
  const Weight& w = weight(s.op.table);
  const int64_t n = w.spec.n_cols;
  const auto [begin, end] = worker_.share(n_tokens_);
  for (int64_t t = begin; t < end; ++t) {
    const int64_t token = s.op.by == EmbedBy::token      ? step_.tokens[static_cast<size_t>(t)]
                          : s.op.by == EmbedBy::position ? step_.n_past + t
                                                         : 0;
    float* sum = row(s.op.out, t);
    float* out = s.op.accumulate ? reinterpret_cast<float*>(thread_ + b_.plan_.thread_work) : sum;
    w.decode(token, out);
    if (s.op.rotation != kNone) rotate_back(b_.rotations_[static_cast<size_t>(s.op.rotation)], out);
    if (s.op.scale != 1.0f) scale(out, s.op.scale, n, out);
    if (s.op.accumulate) add(sum, out, n, sum);
  }
}

void Execution::operator()(const LayerNormStep& s) {
  const auto [begin, end] = worker_.share(rows_of(s.op.in));
  for (int64_t t = begin; t < end; ++t)
    layer_norm_row(row(s.op.in, t), vector(s.op.weight), vector(s.op.bias), width_of(s.op.in), s.op.eps,
                   row(s.op.out, t));
}

// Values are shared out, not rows: it is the logits of one token mostly.
void Execution::operator()(const SoftcapStep& s) {
  const auto [begin, end] = worker_.share(rows_of(s.op.x) * width_of(s.op.x), 16);
  softcap(row(s.op.x, 0) + begin, end - begin, s.op.cap);
}

void Execution::operator()(const NormStep& s) {
  const auto [begin, end] = worker_.share(rows_of(s.op.in));
  for (int64_t t = begin; t < end; ++t)
    rms_norm_row(row(s.op.in, t), vector(s.op.weight), width_of(s.op.in), s.op.group, s.op.eps,
                 row(s.op.out, t));
}

void Execution::operator()(const AddStep& s) {
  const auto [begin, end] = worker_.share(rows_of(s.op.out));
  for (int64_t t = begin; t < end; ++t)
    add(row(s.op.a, t), row(s.op.b, t), width_of(s.op.out), row(s.op.out, t));
}

void Execution::operator()(const GateStep& s) {
  const auto [begin, end] = worker_.share(rows_of(s.op.out));
  for (int64_t t = begin; t < end; ++t)
    gated_activation(gate_of(s.op.activation), row(s.op.gate, t),
                     s.op.up == kNone ? nullptr : row(s.op.up, t), width_of(s.op.out), row(s.op.out, t));
}

void Execution::operator()(const SelectStep& s) {
  const auto [begin, end] = worker_.share(rows_of(s.op.out));
  for (int64_t i = begin; i < end; ++i)
    std::memcpy(row(s.op.out, i), row(s.op.in, step_.output_rows[static_cast<size_t>(i)]),
                static_cast<size_t>(width_of(s.op.out)) * sizeof(float));
}

void Execution::operator()(const RopeStep& s) {
  const int64_t n_rot = b_.graph_.ropes[static_cast<size_t>(s.op.rope)].n_rot;
  const auto [begin, end] = worker_.share(n_tokens_);
  for (int64_t t = begin; t < end; ++t)
    rope_row(pairs_of(s.op.style), rope_at(s.op.rope, t), n_rot, s.op.n_head, s.op.head_dim,
             row(s.op.x, t) + s.op.offset);
}

// Row t of a linear's input as its matrices want it.
const float* Execution::input_row(const LinearStep& s, int64_t t, float* room) const {
  const float* x = source_row(s.source, t, room);
  if (s.op.rotation == kNone) return x;
  rotate_row(b_.rotations_[static_cast<size_t>(s.op.rotation)], x, room);
  return room;
}

// Row t of a linear's source, in place where it exists, else made in room.
const float* Execution::source_row(const Source& s, int64_t t, float* room) const {
  if (s.kind == Source::norm) {
    rms_norm_row(row(s.a, t), vector(s.norm_op.weight), width_of(s.a), s.norm_op.group, s.norm_op.eps, room);
    return room;
  }
  if (s.kind == Source::gated) {
    gated_activation(gate_of(s.activation), row(s.a, t), s.b == kNone ? nullptr : row(s.b, t), width_of(s.a),
                     room);
    return room;
  }
  if (s.partials && few_) {
    const AttentionShape a = attention_shape(s.attention);
    const int64_t hd = a.head_dim_v;
    const Chunks c = chunks_of(a, t);
    for (int64_t h = 0; h < a.n_head; ++h)
      combine_partials(partials(t, h, hd), partial_floats(hd), c.n, hd, a.sink(h), room + h * hd);
    return room;
  }
  return row(s.a, t);
}

void Execution::operator()(const LinearStep& s) {
  const int64_t n = rows_of(s.source.a);
  if (n == 1 || (few_ && n <= kFewTokens))
    linear_few(s, n);
  else if (n > 1)
    linear_many(s, n);
}

// Every thread makes and quantises the rows for itself and then does its share of the weight rows.
void Execution::linear_few(const LinearStep& s, int64_t n) {
  auto* room = reinterpret_cast<float*>(thread_ + b_.plan_.thread_input);
  const int64_t n_cols = width_of(s.op.in);
  int forms = 0;
  for (const LinearOp::Part& p : s.op.parts)
    if (const Weight& w = weight(p.weight); w.packed) forms |= matvec_forms(w.spec.dtype, b_.dot_);
  ActRow q[kFewTokens] = {};
  for (int64_t t = 0; t < n; ++t) {
    const float* x = input_row(s, t, room);
    if (forms != 0) {
      q[t] = ActRow::at(thread_ + b_.plan_.few_rows * static_cast<uint64_t>(t), n_cols);
      quantize_row(x, n_cols, forms, q[t]);
    }
    for (const LinearOp::Part& p : s.op.parts) {
      const Weight& w = weight(p.weight);
      if (w.packed) continue;
      const auto [begin, end] = worker_.share(w.spec.n_rows, 16);
      dense_matmul(w.dense(), x, n_cols, 1, {row(p.out, t), w.spec.n_rows, vector(p.bias), p.accumulate},
                   begin, end, reinterpret_cast<float*>(thread_ + b_.plan_.thread_work));
    }
  }
  for (const LinearOp::Part& p : s.op.parts) {
    const Weight& w = weight(p.weight);
    if (!w.packed) continue;
    const float* bias = vector(p.bias);
    w.for_runs(worker_, [&](const PackedMatrix& m, int64_t first, int64_t from, int64_t to) {
      matvec_few(m, q, n, b_.dot_, bias == nullptr ? nullptr : bias + first, p.accumulate,
                 row(p.out, 0) + first, w.spec.n_rows, from, to);
    });
  }
}

// Tokens are shared out to be made and quantised, then weight rows.
void Execution::linear_many(const LinearStep& s, int64_t n) {
  const int64_t n_cols = width_of(s.op.in);
  int forms = 0;
  bool dense = false;
  for (const LinearOp::Part& p : s.op.parts) {
    const Weight& w = weight(p.weight);
    if (w.packed)
      forms |= matmul_forms(w.spec.dtype, b_.dot_);
    else
      dense = true;
  }
  auto* room = reinterpret_cast<float*>(thread_ + b_.plan_.thread_input);
  auto* shared = reinterpret_cast<float*>(b_.scratch_.get() + b_.plan_.rows);
  const bool made = s.source.kind != Source::act || s.op.rotation != kNone;
  const ActTiles tiles = ActTiles::at(b_.scratch_.get() + b_.plan_.tiles, n_cols, n);
  const auto [t0, t1] = worker_.share(n);
  for (int64_t t = t0; t < t1; ++t) {
    const float* x = input_row(s, t, dense && made ? shared + t * n_cols : room);
    if (forms != 0) quantize_to_tiles(x, t, forms, ActRow::at(thread_, n_cols), tiles);
  }
  if (forms != 0 && t1 == n && t0 < t1)
    for (int64_t t = n; t % kTileTokens != 0; ++t) clear_in_tiles(t, tiles);
  worker_.barrier();
  for (const LinearOp::Part& p : s.op.parts) {
    const Weight& w = weight(p.weight);
    const MatmulOut out{row(p.out, 0), w.spec.n_rows, vector(p.bias), p.accumulate};
    void* work = thread_ + b_.plan_.thread_work;
    if (w.packed) {
      w.for_runs(worker_, [&](const PackedMatrix& m, int64_t first, int64_t from, int64_t to) {
        const MatmulOut rows{out.y + first, out.stride, out.bias == nullptr ? nullptr : out.bias + first,
                             out.accumulate};
        matmul(m, tiles, n, b_.dot_, rows, from, to, work);
      });
    } else {
      const auto [begin, end] = worker_.share(w.spec.n_rows, 16);
      dense_matmul(w.dense(), made ? shared : row(s.source.a, 0), n_cols, n, out, begin, end,
                   static_cast<float*>(work));
    }
  }
}

void Execution::prepare_heads(const HeadPrep& prep, int64_t t, int64_t n_head, int64_t head_dim,
                              float* x) const {
  if (prep.norm != kNone) rms_norm_row(x, vector(prep.norm), n_head * head_dim, head_dim, prep.eps, x);
  if (prep.rope != kNone)
    rope_row(pairs_of(prep.style), rope_at(prep.rope, t),
             b_.graph_.ropes[static_cast<size_t>(prep.rope)].n_rot, n_head, head_dim, x);
}

Execution::Chunks Execution::chunks_of(const AttentionShape& a, int64_t t) const {
  const int64_t position = step_.n_past + t, begin = a.first_seen(position);
  const int64_t length = chunk_length(position + 1), first = begin / length;
  return {length, first, position / length - first + 1, begin};
}

AttentionShape Execution::attention_shape(const AttentionOp& op) const {
  AttentionShape a = shape_of(op);
  a.sinks = vector(op.sinks);
  return a;
}

float* Execution::partials(int64_t t, int64_t head, int64_t head_dim_v) const {
  return reinterpret_cast<float*>(b_.scratch_.get() + b_.plan_.partials) + t * b_.plan_.partials_floats +
         head * kMaxChunks * partial_floats(head_dim_v);
}

void Execution::operator()(const AttentionStep& s) {
  if (few_)
    attend_few(s);
  else
    attend_many(s);
}

// Puts token t's key and value of a head into the cache; k: head_dim floats of work space.
void Execution::store_heads(const AttentionStep& s, int64_t t, int64_t head, float* k) const {
  const int64_t hd = s.op.head_dim, hd_v = s.op.head_dim_v;
  std::memcpy(k, row(s.op.k, t) + head * hd, static_cast<size_t>(hd) * sizeof(float));
  prepare_heads(s.k, t, 1, hd, k);
  kv_store(b_.kv_[static_cast<size_t>(s.op.layer)], head, step_.n_past + t, k, row(s.op.v, t) + head * hd_v);
}

// Items are (token, kv head, chunk of positions). With one token the item that holds its own position also
// stores its key and value, so that no barrier is needed in between.
void Execution::attend_few(const AttentionStep& s) {
  const AttentionShape a = attention_shape(s.op);
  const KvLayer& kv = b_.kv_[static_cast<size_t>(s.op.layer)];
  const int64_t hd = a.head_dim, hd_v = a.head_dim_v, group = a.group();
  auto* q = reinterpret_cast<float*>(thread_ + b_.plan_.thread_work);
  float* k = q + group * hd;
  void* work = thread_ + b_.plan_.thread_work +
               (static_cast<uint64_t>((group + 1) * hd) * sizeof(float) + 63) / 64 * 64;
  int64_t n_items = 0;
  for (int64_t t = 0; t < n_tokens_; ++t) n_items += a.n_head_kv * chunks_of(a, t).n;
  if (n_tokens_ > 1) {
    const auto [first, last] = worker_.share(n_tokens_ * a.n_head_kv);
    for (int64_t i = first; i < last; ++i) store_heads(s, i / a.n_head_kv, i % a.n_head_kv, k);
    worker_.barrier();
  }
  const auto [begin, end] = worker_.share(n_items);
  int64_t of_token = 0;  // the first item of token t
  for (int64_t t = 0; t < n_tokens_; ++t) {
    const Chunks c = chunks_of(a, t);
    const int64_t position = step_.n_past + t;
    int64_t prepared = -1;
    for (int64_t item = std::max(begin, of_token) - of_token;
         item < std::min(end - of_token, a.n_head_kv * c.n); ++item) {
      const int64_t head = item / c.n, chunk = c.first + item % c.n;
      if (head != prepared) {
        std::memcpy(q, row(s.op.q, t) + head * group * hd, static_cast<size_t>(group * hd) * sizeof(float));
        prepare_heads(s.q, t, group, hd, q);
        prepared = head;
      }
      const int64_t from = std::max(c.begin0, chunk * c.length),
                    to = std::min(position + 1, (chunk + 1) * c.length);
      if (to == position + 1 && n_tokens_ == 1) store_heads(s, t, head, k);
      float* partial = partials(t, head * group, hd_v) + (chunk - c.first) * partial_floats(hd_v);
      attend_chunk(kv, a, head, q, from, to, partial, kMaxChunks * partial_floats(hd_v), work);
    }
    of_token += a.n_head_kv * c.n;
  }
  if (s.leave_partials) return;
  worker_.barrier();
  const auto [h0, h1] = worker_.share(n_tokens_ * a.n_head);
  for (int64_t i = h0; i < h1; ++i) {
    const int64_t t = i / a.n_head, h = i % a.n_head;
    combine_partials(partials(t, h, hd_v), partial_floats(hd_v), chunks_of(a, t).n, hd_v, a.sink(h),
                     row(s.op.out, t) + h * hd_v);
  }
}

void Execution::attend_many(const AttentionStep& s) {
  const AttentionShape a = attention_shape(s.op);
  const KvLayer& kv = b_.kv_[static_cast<size_t>(s.op.layer)];
  const auto [t0, t1] = worker_.share(n_tokens_);
  for (int64_t t = t0; t < t1; ++t) {
    prepare_heads(s.q, t, a.n_head, a.head_dim, row(s.op.q, t));
    prepare_heads(s.k, t, a.n_head_kv, a.head_dim, row(s.op.k, t));
    for (int64_t h = 0; h < a.n_head_kv; ++h)
      kv_store(kv, h, step_.n_past + t, row(s.op.k, t) + h * a.head_dim, row(s.op.v, t) + h * a.head_dim_v);
  }
  worker_.barrier();
  // Later tokens see more: dealing the blocks out in turn evens the load.
  const int64_t per_block = attend_block_tokens(a), n_blocks = (n_tokens_ + per_block - 1) / per_block;
  for (int64_t item = worker_.thread(); item < n_blocks * a.n_head_kv; item += worker_.n_threads()) {
    const int64_t begin = item / a.n_head_kv * per_block;
    attend_block(kv, a, item % a.n_head_kv, row(s.op.q, 0), begin, std::min(n_tokens_, begin + per_block),
                 n_tokens_, step_.n_past, row(s.op.out, 0), thread_ + b_.plan_.thread_work);
  }
}

}  // namespace nutshell::cpu
