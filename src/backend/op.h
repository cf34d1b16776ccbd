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
enum WeightUse : uint8_t { kUseMatrix = 1, kUseTable = 2, kUseVector = 4 };

struct WeightSpec {
  std::string name;    // name in the model file
  DType dtype;         // format in the model file
  int64_t n_rows = 1;  // 1 for vectors
  int64_t n_cols = 0;  // values per row, a multiple of the format's block length
  uint8_t use = 0;     // WeightUse bits
  TrellisCode code{};  // of the trellis formats
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

// out[t] = table[token[t]] * scale
struct EmbedOp {
  WeightId table;
  ActId out;
  float scale = 1.0f;
  int32_t rotation = kNone;  // index into Graph::rotations; the looked-up row is turned back
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

// In place on x: [n_tokens, n_head * head_dim]; the first n_rot values of every head are rotated.
struct RopeOp {
  ActId x;
  int64_t n_head, head_dim;
  int32_t rope;  // index into Graph::ropes
  RopeStyle style;
};

// Appends this step's k and v to the KV cache of `layer` and attends causally: for head h with kv head
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
};

enum class Activation : uint8_t { silu, gelu_tanh };

// out = activation(gate) * up, elementwise.
struct GatedActivationOp {
  ActId gate, up, out;
  Activation activation;
};

// out = a + b
struct AddOp {
  ActId a, b, out;
};

// Keeps the rows whose logits are asked for: in [n_tokens, w] -> out [n_outputs, w].
struct SelectRowsOp {
  ActId in, out;
};

using Op =
    std::variant<EmbedOp, RmsNormOp, LinearOp, RopeOp, AttentionOp, GatedActivationOp, AddOp, SelectRowsOp>;

// Keys and values of one layer in the KV cache.
struct KvSpec {
  int64_t n_head_kv = 0;
  int64_t head_dim = 0;    // of a key
  int64_t head_dim_v = 0;  // of a value
};

struct Graph {
  std::vector<WeightSpec> weights;
  std::vector<ActSpec> acts;
  std::vector<RopeSpec> ropes;
  std::vector<RotationSpec> rotations;
  std::vector<KvSpec> kv_layers;
  std::vector<Op> ops;
  ActId logits = kNone;  // per_output, width n_vocab
};

}  // namespace nutshell
