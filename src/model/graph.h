// The words an architecture is written in: each emits one op and answers the activation it made. L4.
// The builder keeps the first error and goes on harmlessly, so that architecture files read as plain
// formulas; finish() tells.
#pragma once

#include <initializer_list>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend/op.h"
#include "base/result.h"
#include "model/tensor_index.h"

namespace nutshell {

class GraphBuilder {
 public:
  explicit GraphBuilder(const TensorIndex& tensors) : tensors_(tensors) {}

  // --- weights: looked up by name, checked against the expected shape; the same name twice is one weight ---
  WeightId matrix(const std::string& name, int64_t n_out, int64_t n_in);
  WeightId table(const std::string& name, int64_t n_rows, int64_t width);
  WeightId vector(const std::string& name, int64_t n);
  // Rows [first, first + n_out) of a tensor that holds several matrices, n_rows in all; a vector's values
  // likewise.
  WeightId matrix_rows(const std::string& name, int64_t n_rows, int64_t first, int64_t n_out, int64_t n_in);
  WeightId vector_part(const std::string& name, int64_t n_values, int64_t first, int64_t n);
  WeightId values(const std::string& name, int64_t n_rows, int64_t n_cols);  // f32 values in rows
  // A 3-D tensor: n_slices matrices of n_out x n_in.
  WeightId matrices(const std::string& name, int64_t n_slices, int64_t n_out, int64_t n_in);
  WeightId optional_vector(const std::string& name, int64_t n);  // kNone when the file has none
  bool has(const std::string& name) const { return tensors_.find(name) != nullptr; }

  // --- ops ---
  ActId embed(WeightId table, float scale = 1.0f);
  void embed_positions(ActId to, WeightId table);  // to += table[position]
  void embed_first(ActId to, WeightId table);      // to += table[0]
  ActId rms_norm(ActId in, WeightId weight, float eps);
  ActId layer_norm(ActId in, WeightId weight, WeightId bias, float eps);
  void head_norm(ActId x, WeightId weight, int64_t head_dim, float eps);  // in place, per head
  ActId linear(ActId in, WeightId w, WeightId bias = kNone);
  struct Product {
    WeightId weight;
    WeightId bias = kNone;
  };
  std::vector<ActId> linears(ActId in,
                             std::initializer_list<Product> products);     // one input, several products
  void add_linear(ActId to, ActId in, WeightId w, WeightId bias = kNone);  // to += W in + bias
  int32_t rope_spec(RopeSpec spec);
  void rope(ActId x, int64_t n_head, int64_t head_dim, int32_t rope, RopeStyle style, int64_t offset = 0);
  struct Attention {
    int64_t n_head, n_head_kv, head_dim;
    float scale;
    int64_t window = 0;
    float softcap = 0.0f;
    int64_t head_dim_v = 0;  // 0: as head_dim
    WeightId sinks = kNone;
    bool causal = true;
  };
  ActId attend(ActId q, ActId k, ActId v, const Attention& a);  // one more KV layer
  ActId gated(ActId gate, ActId up, Activation activation);
  ActId activate(ActId x, Activation activation) { return gated(x, kNone, activation); }
  void add_to(ActId to, ActId what);
  void softcap(ActId x, float cap);                                // in place
  ActId assemble(int64_t width) { return new_act(width, false); }  // filled by copy_heads and head_linear
  void copy_heads(const CopyHeadsOp& copy) { graph_.ops.push_back(copy); }
  void head_linear(const HeadLinearOp& op) { graph_.ops.push_back(op); }
  void add_experts(const ExpertsOp& op) { graph_.ops.push_back(op); }          // op.out += ...
  ActId short_conv(ActId in, WeightId weight, int64_t width, int64_t kernel);  // one more conv layer
  ActId select_outputs(ActId in);
  void logits(ActId out);

  // For what an architecture finds wrong by itself; only the first error is kept.
  void fail(ErrorCode code, std::string message);
  // The graph, or the first error: missing_tensor, bad_shape, unsupported_format.
  Result<Graph> finish();

 private:
  // The part of the tensor `name` of n_rows x n_cols that begins at row (vectors: value) `first`.
  struct Extent {
    int64_t n_rows, n_cols, first, n, n_slices = 1;
  };
  WeightId weight(const std::string& name, const Extent& extent, uint8_t use);
  ActId new_act(int64_t width, bool per_output);
  const ActSpec& act(ActId id) const { return graph_.acts[static_cast<size_t>(id)]; }
  int64_t rows_of(WeightId id) const { return id < 0 ? 0 : graph_.weights[static_cast<size_t>(id)].n_rows; }
  int32_t rotation_of(WeightId id);  // of the weight's input; kNone when it is stored as it is

  const TensorIndex& tensors_;
  Graph graph_;
  std::unordered_map<std::string, WeightId> by_name_;
  Status first_error_;
};

}  // namespace nutshell
