// Runs a model's graph in f32 on one window of tokens, forwards and backwards. L5. The compressor needs what
// no back end offers: the inputs of every linear, and the gradients of a loss at their outputs. Sums are
// split over independent outputs in tiles of fixed size, so results do not depend on the number of threads.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/op.h"
#include "base/parallel.h"
#include "base/result.h"
#include "compress/matrix.h"

namespace nutshell::compress {

// What backward() tells of every op with weights. x: [n_tokens, n_in], gradient: [n_tokens, n_out] of the
// loss.
class GradientObserver {
 public:
  virtual ~GradientObserver() = default;
  virtual void on_linear(const LinearOp& op, const Matrix& x, std::span<const Matrix> gradients) = 0;
  virtual void on_embed(const EmbedOp& op, std::span<const int32_t> tokens, const Matrix& gradient) = 0;
  // normalised: input / rms, before the weight.
  virtual void on_norm(const RmsNormOp&, const Matrix& /*normalised*/, const Matrix& /*gradient*/) {}
};

// What forward() may do to the inputs of a linear: the 8-bit codes of run time, or collecting statistics.
using InputHook = std::function<void(const LinearOp& op, Matrix& x)>;

class FloatRun {
 public:
  // weights[i] belongs to graph.weights[i]; both must outlive the run and may change between calls.
  FloatRun(const Graph& graph, const std::vector<Matrix>& weights, ThreadPool& pool)
      : graph_(graph), weights_(weights), pool_(pool), acts_(graph.acts.size()) {}
  FloatRun(FloatRun&&) = default;

  // unsupported_architecture naming an op that this file has no formula for.
  static Status check(const Graph& graph);

  // tokens at positions 0, 1, ...; every position gives logits (an embedding model: its vector). keep: hold
  // what backward() needs; else activations that no later op reads are dropped.
  void forward(std::span<const int32_t> tokens, bool keep, const InputHook& hook = {});
  // [n_tokens, n_vocab] of the last forward(); may be overwritten by the caller.
  Matrix& logits() { return *acts_[static_cast<size_t>(graph_.logits)]; }
  // The same op by op, in order, for a caller that looks at what lies between: begin(), then run_op(0), ...
  void begin(std::span<const int32_t> tokens);
  void run_op(size_t i);
  const Matrix& value(ActId id) const { return *acts_[static_cast<size_t>(id)]; }
  // Once after forward(keep). gradient: of the loss by the logits.
  void backward(Matrix gradient, GradientObserver& observer);

 private:
  void find_last_reads();
  using Shared = std::shared_ptr<Matrix>;
  struct Kept {
    Shared a, b, c;
  };
  void step(const EmbedOp& op, Kept& kept);
  void step(const RmsNormOp& op, Kept& kept);
  void step(const LayerNormOp& op, Kept& kept);
  void step(const LinearOp& op, Kept& kept);
  void step(const RopeOp& op, Kept& kept);
  void step(const AttentionOp& op, Kept& kept);
  void step(const GatedActivationOp& op, Kept& kept);
  void step(const AddOp& op, Kept& kept);
  void step(const SelectRowsOp& op, Kept& kept);
  void step(const SoftcapOp& op, Kept& kept);
  void step(const ShortConvOp& op, Kept& kept);
  void back(const EmbedOp& op, Kept& kept);
  void back(const RmsNormOp& op, Kept& kept);
  void back(const LayerNormOp& op, Kept& kept);
  void back(const LinearOp& op, Kept& kept);
  void back(const RopeOp& op, Kept& kept);
  void back(const AttentionOp& op, Kept& kept);
  void back(const GatedActivationOp& op, Kept& kept);
  void back(const AddOp& op, Kept& kept);
  void back(const SelectRowsOp& op, Kept& kept);
  void back(const SoftcapOp& op, Kept& kept);
  void back(const ShortConvOp& op, Kept& kept);
  Matrix convolved(const ShortConvOp& op, const Matrix& in) const;

  Shared& act(ActId id) { return acts_[static_cast<size_t>(id)]; }
  Shared fresh(ActId id) const;
  Matrix& writable(ActId id);  // copied first when backward() needs the old value
  Matrix take(ActId id);       // the gradient of an activation whose value an op made
  void add_gradient(ActId id, Matrix g);
  const Matrix& weight(WeightId id) const { return weights_[static_cast<size_t>(id)]; }
  void rotate(const RopeOp& op, Matrix& x, bool backwards) const;

  const Graph& graph_;
  const std::vector<Matrix>& weights_;
  ThreadPool& pool_;
  std::vector<Shared> acts_;
  std::vector<std::vector<ActId>> last_read_;  // where values are dropped: by op
  std::vector<Kept> kept_;
  std::vector<Matrix> gradients_;
  std::span<const int32_t> tokens_;
  const InputHook* hook_ = nullptr;
  GradientObserver* observer_ = nullptr;
  bool keep_ = false;
};

// y (+)= x w^T; y: [n_tokens, n_out], w: [n_out, n_in].
void multiply_transposed(ThreadPool& pool, const Matrix& x, const Matrix& w, bool accumulate, Matrix& y);
// h += x^T diag(weight) x; weight may be empty. h: symmetric, both triangles written.
void add_gram(ThreadPool& pool, const Eigen::Ref<const Matrix, 0, Eigen::OuterStride<>>& x,
              std::span<const float> weight, Matrix& h);
// Rows become softmax(row).
void softmax_rows(ThreadPool& pool, Matrix& x);

}  // namespace nutshell::compress
