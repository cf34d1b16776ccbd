#include "model/graph.h"

#include <algorithm>
#include <utility>

namespace nutshell {

void GraphBuilder::fail(ErrorCode code, std::string message) {
  if (first_error_.ok()) first_error_ = Status(code, std::move(message));
}

WeightId GraphBuilder::weight(const std::string& name, const Extent& extent, uint8_t use) {
  const auto [n_rows, n_cols, first, n, n_slices] = extent;
  const TensorEntry* entry = tensors_.find(name);
  if (entry == nullptr) {
    fail(ErrorCode::missing_tensor, "the file lacks the tensor '" + name + "'");
    return kNone;
  }
  if (const Status status = entry->check_supported(); !status.ok()) {
    fail(status.code(), status.message());
    return kNone;
  }
  if (n_slices > 1 && entry->n_slices() != n_slices) {
    fail(ErrorCode::bad_shape, "the tensor '" + name + "' has " + std::to_string(entry->n_slices()) +
                                   " matrices, expected " + std::to_string(n_slices));
    return kNone;
  }
  if (entry->n_rows != n_rows || entry->n_cols != n_cols) {
    fail(ErrorCode::bad_shape, "the tensor '" + name + "' is " + std::to_string(entry->n_rows) + " x " +
                                   std::to_string(entry->n_cols) + ", expected " + std::to_string(n_rows) +
                                   " x " + std::to_string(n_cols));
    return kNone;
  }
  const bool part_of_row = (use & kUseVector) && n_rows == 1 && n < n_cols;
  const bool part_of_rows = !(use & kUseVector) && n < n_rows;
  if (part_of_row && info_of(*entry->dtype).block_length != 1) {
    fail(ErrorCode::unsupported_format,
         "a part of the vector '" + name + "' in the format " + entry->format_name);
    return kNone;
  }
  const std::string key = name + "#" + std::to_string(first) + "+" + std::to_string(n);
  if (const auto it = by_name_.find(key); it != by_name_.end()) {
    graph_.weights[static_cast<size_t>(it->second)].use |= use;
    return it->second;
  }
  const auto id = static_cast<WeightId>(graph_.weights.size());
  const bool cut = part_of_rows && (first % kTrellisRows != 0 || n % kTrellisRows != 0);
  const bool mixed = entry->coded.runs.size() > 1 || !entry->coded.order.empty();
  if (is_trellis(*entry->dtype) && ((use & kUseVector) || cut || (mixed && (part_of_rows || n_slices > 1)))) {
    fail(ErrorCode::unsupported_format,
         "'" + name + "' is trellis-coded; only matrices may be, and parts of 16 rows of those of one width");
    return kNone;
  }
  graph_.weights.push_back({name, *entry->dtype, part_of_rows ? n : n_rows, part_of_row ? n : n_cols, use,
                            n_slices, entry->coded, first});
  by_name_.emplace(key, id);
  return id;
}

WeightId GraphBuilder::matrix(const std::string& name, int64_t n_out, int64_t n_in) {
  return weight(name, {n_out, n_in, 0, n_out}, kUseMatrix);
}
WeightId GraphBuilder::matrix_rows(const std::string& name, int64_t n_rows, int64_t first, int64_t n_out,
                                   int64_t n_in) {
  return weight(name, {n_rows, n_in, first, n_out}, kUseMatrix);
}
WeightId GraphBuilder::vector_part(const std::string& name, int64_t n_values, int64_t first, int64_t n) {
  return weight(name, {1, n_values, first, n}, kUseVector);
}
WeightId GraphBuilder::table(const std::string& name, int64_t n_rows, int64_t width) {
  return weight(name, {n_rows, width, 0, n_rows}, kUseTable);
}
WeightId GraphBuilder::vector(const std::string& name, int64_t n) {
  return weight(name, {1, n, 0, n}, kUseVector);
}
WeightId GraphBuilder::values(const std::string& name, int64_t n_rows, int64_t n_cols) {
  return weight(name, {n_rows, n_cols, 0, n_rows > 1 ? n_rows : n_cols}, kUseVector);
}
WeightId GraphBuilder::matrices(const std::string& name, int64_t n_slices, int64_t n_out, int64_t n_in) {
  if (const TensorEntry* entry = tensors_.find(name); entry != nullptr && entry->rotation)
    fail(ErrorCode::unsupported_format, "the matrices of '" + name + "' are rotated, their input is not");
  return weight(name, {n_slices * n_out, n_in, 0, n_slices * n_out, n_slices}, kUseMatrix);
}
WeightId GraphBuilder::optional_vector(const std::string& name, int64_t n) {
  return has(name) ? vector(name, n) : kNone;
}

int32_t GraphBuilder::rotation_of(WeightId id) {
  if (id < 0) return kNone;
  const WeightSpec& w = graph_.weights[static_cast<size_t>(id)];
  const TensorEntry* entry = tensors_.find(w.name);
  if (!entry->rotation) return kNone;
  const auto& known = graph_.rotations;
  for (size_t i = 0; i < known.size(); ++i)
    if (known[i].width == w.n_cols && known[i].seed == *entry->rotation) return static_cast<int32_t>(i);
  graph_.rotations.push_back({w.n_cols, *entry->rotation});
  return static_cast<int32_t>(known.size()) - 1;
}

// Every activation has a buffer of its own; the back end may share memory between those whose lives do not
// overlap, since the ops tell who reads what.
ActId GraphBuilder::new_act(int64_t width, bool per_output) {
  graph_.acts.push_back({width, per_output});
  return static_cast<ActId>(graph_.acts.size()) - 1;
}

ActId GraphBuilder::embed(WeightId table, float scale) {
  const int64_t width = table < 0 ? 0 : graph_.weights[static_cast<size_t>(table)].n_cols;
  const ActId out = new_act(width, false);
  graph_.ops.push_back(EmbedOp{table, out, scale, rotation_of(table)});
  return out;
}

void GraphBuilder::embed_positions(ActId to, WeightId table) {
  graph_.ops.push_back(EmbedOp{table, to, 1.0f, rotation_of(table), EmbedBy::position, true});
}
void GraphBuilder::embed_first(ActId to, WeightId table) {
  graph_.ops.push_back(EmbedOp{table, to, 1.0f, rotation_of(table), EmbedBy::first_row, true});
}

ActId GraphBuilder::rms_norm(ActId in, WeightId weight, float eps) {
  const ActId out = new_act(act(in).width, act(in).per_output);
  graph_.ops.push_back(RmsNormOp{in, weight, out, act(in).width, eps});
  return out;
}

ActId GraphBuilder::layer_norm(ActId in, WeightId weight, WeightId bias, float eps) {
  const ActId out = new_act(act(in).width, act(in).per_output);
  graph_.ops.push_back(LayerNormOp{in, weight, bias, out, eps});
  return out;
}

void GraphBuilder::head_norm(ActId x, WeightId weight, int64_t head_dim, float eps) {
  graph_.ops.push_back(RmsNormOp{x, weight, x, head_dim, eps});
}

std::vector<ActId> GraphBuilder::linears(ActId in, std::initializer_list<Product> products) {
  std::vector<LinearOp> ops;  // one per rotation of the input, usually one
  std::vector<ActId> outs;
  for (const Product& p : products) {
    const int32_t rotation = rotation_of(p.weight);
    outs.push_back(new_act(rows_of(p.weight), act(in).per_output));
    auto op = std::find_if(ops.begin(), ops.end(), [&](const LinearOp& o) { return o.rotation == rotation; });
    if (op == ops.end()) op = ops.insert(op, LinearOp{in, {}, rotation});
    op->parts.push_back({p.weight, p.bias, outs.back(), false});
  }
  for (LinearOp& op : ops) graph_.ops.push_back(std::move(op));
  return outs;
}

ActId GraphBuilder::linear(ActId in, WeightId w, WeightId bias) { return linears(in, {{w, bias}})[0]; }

void GraphBuilder::add_linear(ActId to, ActId in, WeightId w, WeightId bias) {
  graph_.ops.push_back(LinearOp{in, {{w, bias, to, true}}, rotation_of(w)});
}

int32_t GraphBuilder::rope_spec(RopeSpec spec) {
  graph_.ropes.push_back(std::move(spec));
  return static_cast<int32_t>(graph_.ropes.size()) - 1;
}

void GraphBuilder::rope(ActId x, int64_t n_head, int64_t head_dim, int32_t rope, RopeStyle style,
                        int64_t offset) {
  graph_.ops.push_back(RopeOp{x, n_head, head_dim, rope, style, offset});
}

ActId GraphBuilder::short_conv(ActId in, WeightId weight, int64_t width, int64_t kernel) {
  const ActId out = new_act(width, false);
  const auto layer = static_cast<int32_t>(graph_.conv_layers.size());
  graph_.conv_layers.push_back({width, kernel});
  graph_.ops.push_back(ShortConvOp{in, weight, out, layer, width, kernel});
  return out;
}

ActId GraphBuilder::attend(ActId q, ActId k, ActId v, const Attention& a) {
  const int64_t head_dim_v = a.head_dim_v > 0 ? a.head_dim_v : a.head_dim;
  const ActId out = new_act(a.n_head * head_dim_v, false);
  const auto layer = static_cast<int32_t>(graph_.kv_layers.size());
  graph_.kv_layers.push_back({a.n_head_kv, a.head_dim, head_dim_v});
  graph_.ops.push_back(AttentionOp{q, k, v, out, layer, a.n_head, a.n_head_kv, a.head_dim, head_dim_v,
                                   a.scale, a.window, a.softcap, a.sinks, a.causal});
  return out;
}

ActId GraphBuilder::gated(ActId gate, ActId up, Activation activation) {
  const ActId out = new_act(act(gate).width, act(gate).per_output);
  graph_.ops.push_back(GatedActivationOp{gate, up, out, activation});
  return out;
}

void GraphBuilder::add_to(ActId to, ActId what) { graph_.ops.push_back(AddOp{to, what, to}); }

void GraphBuilder::softcap(ActId x, float cap) { graph_.ops.push_back(SoftcapOp{x, cap}); }

ActId GraphBuilder::select_outputs(ActId in) {
  const ActId out = new_act(act(in).width, true);
  graph_.ops.push_back(SelectRowsOp{in, out});
  return out;
}

void GraphBuilder::logits(ActId out) { graph_.logits = out; }

Result<Graph> GraphBuilder::finish() {
  if (!first_error_.ok()) return first_error_;
  return std::move(graph_);
}

}  // namespace nutshell
