// The CPU back end: weights packed at upload, one pool run per step. L3. Tests and the bench include this to
// choose the form of the dot products; all else goes through make_cpu_backend().
#pragma once

#include <algorithm>
#include <cstdlib>
#include <new>
#include <optional>

#include "backend/cpu/program.h"
#include "kernels/attention.h"
#include "kernels/dense.h"
#include "kernels/matmul.h"
#include "kernels/matvec.h"
#include "kernels/matvec_few.h"
#include "kernels/rotate.h"
#include "kernels/rows.h"

namespace nutshell::cpu {

// Memory aligned to 64 bytes.
struct FreeDeleter {
  void operator()(uint8_t* p) const { std::free(p); }
};
using Memory = std::unique_ptr<uint8_t[], FreeDeleter>;

// A weight as the kernels see it: exactly one of packed and raw (file format, or f32 for vectors).
struct Weight {
  WeightSpec spec;
  bool packed = false;
  Memory memory;
  std::vector<int32_t> places;  // of a table with an order: where row i is stored
  int64_t slice_rows() const { return spec.n_rows / spec.n_slices; }
  PackedMatrix matrix(int64_t slice = 0) const;  // of a 3-D tensor; one run
  size_t n_runs() const { return is_trellis(spec.dtype) ? spec.coded.runs.size() : 1; }
  int64_t first_row(size_t run) const { return is_trellis(spec.dtype) ? spec.coded.runs[run].first_row : 0; }
  PackedMatrix run(size_t i) const;
  // Calls fn(run, first row of y and bias, begin, end) for the worker's superrows of every run. An ordered
  // run places its rows itself. Each run is shared out by itself: threads get the same work of every width,
  // and where the rows of a run are in order, they write apart (else they take each other's cache lines
  // away).
  template <typename Fn>
  void for_runs(const Worker& worker, Fn&& fn) const {
    for (size_t i = 0; i < n_runs(); ++i) {
      const PackedMatrix m = run(i);
      const auto [begin, end] = worker.share((m.n_rows + kSuperrow - 1) / kSuperrow);
      if (begin < end) fn(m, m.places != nullptr ? 0 : first_row(i), begin, end);
    }
  }
  void decode(int64_t row, float* out) const;  // n_cols values; of a table
  DenseMatrix dense(int64_t slice = 0) const {
    const int64_t rows = slice_rows();
    return {spec.dtype, rows, spec.n_cols, memory.get() + slice * rows * row_bytes(spec.dtype, spec.n_cols)};
  }
  const float* vector() const { return reinterpret_cast<const float*>(memory.get()); }
};

// Offsets into the scratch memory, in bytes.
struct ScratchPlan {
  uint64_t acts = 0, tiles = 0, rows = 0, partials = 0, ropes = 0, experts = 0, threads = 0;
  uint64_t thread_bytes = 0;                                   // per thread, from threads on
  uint64_t thread_act = 0, thread_input = 0, thread_work = 0;  // within a thread's part
  uint64_t total = 0;
  uint64_t few_rows = 0;        // bytes between the quantised rows of a one_by_one step, from thread_act on
  int64_t partials_floats = 0;  // of one token
  int64_t max_cols = 0;
};

// Work space of an ExpertsOp. Pairs are (token, expert), expert by expert, each expert's padded to whole
// tiles.
struct ExpertsPlan {
  int64_t n_embd = 0, n_ff = 0;
  int64_t max_pairs = 0;
  // Shared, bytes from ScratchPlan::experts on: chosen experts and their weights [token][used]; gate and up
  // rows [pair][n_ff]; input rows [pair][n_embd] where a weight is not packed; output rows [token][n_embd].
  uint64_t ids = 0, weights = 0, gate = 0, up = 0, in = 0, out = 0, shared = 0;
  // Per thread, bytes from thread_work on: scratch of the router; where each expert's pairs begin; pairs; one
  // output row; scratch of the kernels.
  uint64_t route = 0, starts = 0, pairs = 0, row = 0, kernel = 0, thread = 0;
};
ExpertsPlan plan_experts(const Graph& graph, const ExpertsOp& op, int64_t max_tokens);
bool is_packed(const WeightSpec& w);

// State of short convolutions, so that a step may go on from any of the last positions and from every
// multiple of kConvRing before: y of the last kConvRing positions, and of the kernel - 1 positions before
// each multiple.
inline constexpr int64_t kConvRing = 32;
static_assert(kConvRing >= 2 * kMaxConvKernel);
struct ConvLayer {
  float* ring = nullptr;       // [position % kConvRing][width]
  float* snapshots = nullptr;  // [multiple - 1][kernel - 1][width]
  int64_t width = 0, kernel = 0;
};

class CpuBackend : public Backend {
 public:
  // Without a dot, the best one is measured at the first step.
  CpuBackend(ThreadPool& pool, std::optional<Dot> dot) : pool_(pool), chosen_dot_(dot) {}
  Result<MemoryNeeds> plan(const Graph& graph, const Extents& extents) const override;
  Status allocate(Graph graph, const Extents& extents) override;
  int64_t upload_row_multiple(WeightId weight) const override;
  Status upload(WeightId weight, int64_t row0, int64_t n_rows, std::span<const uint8_t> bytes) override;
  int64_t resume_point(int64_t n_past) const override;
  int64_t few_tokens() const override;
  Status run(const Step& step) override;
  std::span<const float> logits(int64_t i) const override;

 private:
  friend class Execution;
  Status upload_packed(Weight& weight, size_t run, int64_t row0, int64_t n_rows, const uint8_t* bytes);
  float* act(ActId id) const;
  void clear_until(int64_t position);
  int64_t conv_reach() const;  // positions a convolution looks back; 0 without any

  ThreadPool& pool_;
  std::optional<Dot> chosen_dot_;
  Dot dot_ = Dot::strict;  // of the step that runs
  Graph graph_;
  Extents extents_;
  Program program_;
  ScratchPlan plan_;
  std::vector<Weight> weights_;
  std::vector<Rotation> rotations_;
  std::vector<Memory> kv_memory_;
  std::vector<KvLayer> kv_;
  int64_t kv_clean_ = 0;  // positions of the KV cache that hold numbers
  std::vector<Memory> conv_memory_;
  std::vector<ConvLayer> conv_;
  int64_t conv_end_ = 0;   // positions that the convolutions' state knows
  int64_t conv_from_ = 0;  // the ring holds [conv_from_, conv_end_)
  Memory scratch_;
  int64_t n_outputs_ = 0;
};

// One run of a step on one thread of the pool; every thread makes its own.
class Execution {
 public:
  Execution(const CpuBackend& backend, const Step& step, Worker& worker);
  void run();

 private:
  int64_t rows_of(ActId id) const;
  int64_t width_of(ActId id) const { return b_.graph_.acts[static_cast<size_t>(id)].width; }
  float* row(ActId id, int64_t t) const { return b_.act(id) + t * width_of(id); }
  const Weight& weight(WeightId id) const { return b_.weights_[static_cast<size_t>(id)]; }
  const float* vector(WeightId id) const { return id == kNone ? nullptr : weight(id).vector(); }
  float* rope_at(int32_t rope, int64_t t) const;
  void make_rope_tables();

  void operator()(const EmbedStep& s);
  void operator()(const NormStep& s);
  void operator()(const LayerNormStep& s);
  void operator()(const AddStep& s);
  void operator()(const SoftcapStep& s);
  void operator()(const GateStep& s);
  void operator()(const SelectStep& s);
  void operator()(const RopeStep& s);
  void operator()(const LinearStep& s);
  void operator()(const AttentionStep& s);
  void operator()(const CopyHeadsStep& s);
  void operator()(const HeadLinearStep& s);
  void operator()(const ExpertsStep& s);
  void operator()(const ShortConvStep& s);

  struct Experts;  // experts.cpp
  const float* input_row(const LinearStep& s, int64_t t, float* room) const;
  const float* source_row(const Source& s, int64_t t, float* room) const;
  void linear_few(const LinearStep& s, int64_t n);
  void linear_many(const LinearStep& s, int64_t n);
  void attend_few(const AttentionStep& s);
  void store_heads(const AttentionStep& s, int64_t t, int64_t head, float* k) const;
  void attend_many(const AttentionStep& s);
  void prepare_heads(const HeadPrep& prep, int64_t t, int64_t n_head, int64_t head_dim, float* x) const;
  struct Chunks {
    int64_t length, first, n, begin0;
  };
  Chunks chunks_of(const AttentionShape& a, int64_t t) const;
  float* partials(int64_t t, int64_t head, int64_t head_dim_v) const;
  AttentionShape attention_shape(const AttentionOp& op) const;  // with the sinks' values

  const CpuBackend& b_;
  const Step& step_;
  Worker& worker_;
  int64_t n_tokens_;
  bool few_;         // one token, or several with the bits of one at a time
  uint8_t* thread_;  // this thread's scratch
};

Gate gate_of(Activation a);
AttentionShape shape_of(const AttentionOp& op);  // without sinks: for sizes
std::unique_ptr<CpuBackend> make_backend(ThreadPool& pool, std::optional<Dot> dot);

}  // namespace nutshell::cpu
