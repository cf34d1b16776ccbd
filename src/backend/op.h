// The closed list of operations a model is made of, as plain data, and the graph they form.
// L3; sits on tensor only. Architectures emit a Graph once per load (model/graph.h builds it); a back end
// (backend.h) runs it for every step. No op holds a pointer, so a graph can be run by a CPU, be turned into
// a flat GPU command plan, or be printed.
//
// Activations are f32 matrices [n_tokens, width], row per token, named by ActId. n_tokens is the only extent
// that varies between steps. After SelectRows the rows are those whose logits were asked for ([n_outputs,
// width]). A linear weight is [n_out, n_in]: n_out rows of n_in values (GGUF's ne[0] = n_in is contiguous).
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/trellis.h"

namespace nutshell {

using ActId = int32_t;     // index into Graph::acts
using WeightId = int32_t;  // index into Graph::weights
inline constexpr int32_t kNone = -1;

// How a weight is used; it may be several of these at once (a tied embedding is table and matrix).
// kUseVector: kept as f32 values, of any number of rows.
enum WeightUse : uint8_t { kUseMatrix = 1, kUseTable = 2, kUseVector = 4 };

struct WeightSpec {
  std::string name;      // name in the model file
  DType dtype;           // format in the model file
  int64_t n_rows = 1;    // of all slices together; 1 for vectors
  int64_t n_cols = 0;    // values per row, a multiple of the format's block length
  uint8_t use = 0;       // WeightUse bits
  int64_t n_slices = 1;  // a 3-D tensor: that many matrices of n_rows / n_slices rows, one after the other
  TrellisRows coded{};   // of the trellis formats; dtype is the first run's
  int64_t first = 0;  // first row in the file's tensor; of a vector: first value (fused tensors are cut up)
};

struct ActSpec {
  int64_t width = 0;        // values per row
  bool per_output = false;  // rows are the selected output rows, not all tokens
};

// An orthogonal transform R of activations of one width (kernels/rotate.h), under which a trellis-coded
// matrix is stored: W R^T instead of W.
struct RotationSpec {
  int64_t width = 0;
  uint64_t seed = 0;
};

enum class EmbedBy : uint8_t { token, position, first_row };

// out[t] = table[row] * scale (+ out[t] when accumulate is set), row = token[t], the position of t, or 0.
// By position the table has at least n_ctx rows.
struct EmbedOp {
  WeightId table;
  ActId out;
  float scale = 1.0f;
  int32_t rotation = kNone;  // index into Graph::rotations; the looked-up row is turned back
  EmbedBy by = EmbedBy::token;
  bool accumulate = false;
};

// For each group of `group` values of a row: out = in / sqrt(mean(in^2) + eps) * weight. group divides the
// width; weight has group values (q/k norms use head_dim, all else the whole width). in == out is allowed.
struct RmsNormOp {
  ActId in;
  WeightId weight;
  ActId out;
  int64_t group;
  float eps;
};

// out = (in - mean(in)) / sqrt(mean((in - mean(in))^2) + eps) * weight + bias over whole rows; bias may be
// kNone, in == out is allowed.
struct LayerNormOp {
  ActId in;
  WeightId weight, bias;
  ActId out;
  float eps;
};

// Several products of one input: out_i = W_i in + bias_i (+ out_i when accumulate is set). Fused, so that the
// input is quantised once: q/k/v, gate/up.
struct LinearOp {
  struct Part {
    WeightId weight;
    WeightId bias = kNone;
    ActId out;
    bool accumulate = false;
  };
  ActId in;
  std::vector<Part> parts;
  int32_t rotation = kNone;  // index into Graph::rotations: the products are of R in
};

enum class RopeStyle : uint8_t {
  interleaved,  // rotates (x[2i], x[2i+1]); GGUF llama (NORM)
  half,         // rotates (x[i], x[i + n_rot/2]); GGUF qwen, gemma, phi (NEOX)
};

// The angle of pair i at position p: p * inv_freq[i]; the result is multiplied by magnitude (YaRN; else 1).
// Computed by model/rope_scaling.h in double precision; index in Graph::ropes.
struct RopeSpec {
  int64_t n_rot = 0;             // rotated values per head, even, <= head_dim
  std::vector<double> inv_freq;  // n_rot / 2
  float magnitude = 1.0f;
};

// In place on x: [n_tokens, n_head * head_dim]; n_rot values of every head, from `offset` on, are rotated.
struct RopeOp {
  ActId x;
  int64_t n_head, head_dim;
  int32_t rope;  // index into Graph::ropes
  RopeStyle style;
  int64_t offset = 0;
};

// Appends this step's k and v to the KV cache of `layer` and attends causally (or, without causal, to every
// token of this step too): for head h with kv head
// h / (n_head / n_head_kv), out_h = softmax(scale * q_h . K^T, masked) V. Keys and values may differ in
// width. A sink is one more score per head that takes its share of the softmax and has no value (gpt-oss).
struct AttentionOp {
  ActId q;    // [n_tokens, n_head * head_dim]
  ActId k;    // [n_tokens, n_head_kv * head_dim]
  ActId v;    // [n_tokens, n_head_kv * head_dim_v]
  ActId out;  // [n_tokens, n_head * head_dim_v]
  int32_t layer;
  int64_t n_head, n_head_kv, head_dim, head_dim_v;
  float scale;
  int64_t window = 0;      // > 0: a position sees only the last `window` positions, itself included
  float softcap = 0.0f;    // > 0: scores become softcap * tanh(score / softcap)
  WeightId sinks = kNone;  // n_head values
  bool causal = true;
};

enum class Activation : uint8_t {
  silu,
  gelu_tanh,
  gelu_erf,
  swiglu_clamped,  // gpt-oss: g = min(gate, 7), u = clamp(up, -7, 7): g sigmoid(1.702 g) (u + 1)
};

// out = activation(gate) * up, elementwise; up may be kNone: out = activation(gate).
struct GatedActivationOp {
  ActId gate, up, out;
  Activation activation;
};

// out = a + b
struct AddOp {
  ActId a, b, out;
};

// x = cap * tanh(x / cap), in place.
struct SoftcapOp {
  ActId x;
  float cap;
};

// Keeps the rows whose logits are asked for: in [n_tokens, w] -> out [n_outputs, w].
struct SelectRowsOp {
  ActId in, out;
};

// Copies `width` values per head: out[out_offset + h out_stride ..] = in[in_offset + h in_stride ..] of every
// row, for n_head heads. in_stride 0 gives every head the same values. The rest of out is left alone.
struct CopyHeadsOp {
  ActId in, out;
  int64_t n_head, width;
  int64_t in_offset = 0, in_stride = 0;
  int64_t out_offset = 0, out_stride = 0;
};

// One matrix per head: out[h out_stride ..] = W_h in[h in_stride ..], W of n_head slices.
struct HeadLinearOp {
  ActId in;
  WeightId weight;
  ActId out;
  int64_t n_head, in_stride, out_stride;
};

// How a token's experts are chosen and weighed.
struct Router {
  enum class Scores : uint8_t {
    softmax,            // over all experts
    sigmoid,            // each by itself
    softmax_of_chosen,  // chosen by logit; softmax over the chosen ones
  };
  Scores scores = Scores::softmax;
  bool normalize = false;  // the chosen ones' scores are divided by their sum
  float scale = 1.0f;      // and then multiplied with this
  // > 1: experts come in n_group equal groups in order; only the n_group_used best may be chosen from. A
  // group counts as its best group_best (1 or 2) experts together.
  int64_t n_group = 1, n_group_used = 1, group_best = 1;
};

// Mixture of experts. Of n_expert feed-forward networks each token uses the n_used with the highest scores
// (plus selection_bias, which does not weigh; of equal ones the first):
//   out += sum over them, by number, of weight_e (down_e (activation(gate_e in + b) * (up_e in + b)) + b)
// gate, up: n_expert slices [n_ff, n_embd]; down: n_expert slices [n_embd, n_ff]; biases: [n_expert, ...].
struct ExpertsOp {
  ActId in;      // [n_tokens, n_embd]
  ActId logits;  // [n_tokens, n_expert]
  ActId out;     // [n_tokens, n_embd]
  WeightId gate, up, down;
  WeightId gate_bias = kNone, up_bias = kNone, down_bias = kNone;  // f32 values
  WeightId selection_bias = kNone;                                 // n_expert values
  int64_t n_expert, n_used;
  Activation activation;
  Router router;
};

// Gated causal convolution over positions, each channel by itself (LFM2). in: [n_tokens, 3 width] is b, c, x;
// with y_p = b_p x_p: out_p = c_p * sum_k weight[k] y_(p - kernel + 1 + k), y = 0 before position 0.
// Earlier positions' y come from the state of conv layer `layer`.
struct ShortConvOp {
  ActId in;
  WeightId weight;  // [width, kernel] f32 values
  ActId out;        // [n_tokens, width]
  int32_t layer;    // index into Graph::conv_layers
  int64_t width, kernel;
};

using Op = std::variant<EmbedOp, RmsNormOp, LayerNormOp, LinearOp, RopeOp, AttentionOp, GatedActivationOp,
                        AddOp, SoftcapOp, SelectRowsOp, CopyHeadsOp, HeadLinearOp, ExpertsOp, ShortConvOp>;

// Keys and values of one layer in the KV cache.
struct KvSpec {
  int64_t n_head_kv = 0;
  int64_t head_dim = 0;    // of a key
  int64_t head_dim_v = 0;  // of a value
};

// State of one ShortConvOp.
struct ConvSpec {
  int64_t width = 0;
  int64_t kernel = 0;  // 2..kMaxConvKernel
};
inline constexpr int64_t kMaxConvKernel = 16;

struct Graph {
  std::vector<WeightSpec> weights;
  std::vector<ActSpec> acts;
  std::vector<RopeSpec> ropes;
  std::vector<RotationSpec> rotations;
  std::vector<KvSpec> kv_layers;
  std::vector<ConvSpec> conv_layers;
  std::vector<Op> ops;
  ActId logits = kNone;  // per_output, width n_vocab
};

}  // namespace nutshell
