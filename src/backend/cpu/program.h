// A Graph turned into what the CPU runs: fewer, fused steps with a barrier before each, and memory for the
// activations that remain. L3, private to the CPU back end.
//
// Fused, because it saves barriers and passes over memory:
// - RMSNorm, gated activation and the combination of attention partials become the *source* of the linear
// that
//   reads them: for one token every thread makes the row for itself (microseconds, less than a barrier and a
//   shared write); for several tokens the rows are made and quantised in one go, tokens shared out.
// - rotary embedding and per-head norms of q and k go into the attention step.
#pragma once

#include <variant>
#include <vector>

#include "backend/backend.h"
#include "backend/op.h"

namespace nutshell::cpu {

struct EmbedStep {
  EmbedOp op;
};
struct NormStep {
  RmsNormOp op;
};
struct LayerNormStep {
  LayerNormOp op;
};
struct SoftcapStep {
  SoftcapOp op;
};
struct AddStep {
  AddOp op;
};
struct GateStep {
  GatedActivationOp op;
};
struct SelectStep {
  SelectRowsOp op;
};
struct RopeStep {
  RopeOp op;
};

// Where the input rows of a linear come from.
struct Source {
  enum Kind : uint8_t { act, norm, gated } kind = act;
  ActId a = kNone;  // the rows; the input of the norm; the gate
  ActId b = kNone;  // up; kNone: none
  RmsNormOp norm_op{};
  Activation activation{};
  bool partials = false;    // a is an attention output that steps of few tokens leave as partials
  AttentionOp attention{};  // the attention then
};

struct LinearStep {
  Source source;
  LinearOp op;
};

// What happens to q or k before attention: per-head norm, then rotation; either may be absent.
struct HeadPrep {
  WeightId norm = kNone;
  float eps = 0;
  int32_t rope = kNone;
  RopeStyle style{};
};

struct AttentionStep {
  AttentionOp op;
  HeadPrep q, k;
  bool leave_partials = false;  // steps of few tokens leave out to the linear that reads it
};

struct CopyHeadsStep {
  CopyHeadsOp op;
};
struct HeadLinearStep {
  HeadLinearOp op;
};
struct ExpertsStep {
  ExpertsOp op;
};
struct ShortConvStep {
  ShortConvOp op;
};

using Step_ =
    std::variant<EmbedStep, NormStep, LayerNormStep, SoftcapStep, AddStep, GateStep, SelectStep, RopeStep,
                 LinearStep, AttentionStep, CopyHeadsStep, HeadLinearStep, ExpertsStep, ShortConvStep>;

struct Program {
  std::vector<Step_> steps;
  std::vector<int64_t> act_offsets;  // floats from the start of the activation memory; -1 when not stored
  int64_t act_floats = 0;
};

// Precondition: check_graph() was ok.
Program make_program(const Graph& graph, const Extents& extents);
// Ids, shapes and extents fit each other; bad_shape, unsupported_format, invalid_argument otherwise.
Status check_graph(const Graph& graph, const Extents& extents);

}  // namespace nutshell::cpu
