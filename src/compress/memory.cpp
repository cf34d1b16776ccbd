#include "compress/memory.h"

#include <algorithm>

#include "compress/targets.h"

namespace nutshell::compress {
namespace {

constexpr uint64_t kReadBytes = 16u << 20;   // stored bytes of a tensor on their way
constexpr uint64_t kChunkBytes = 64u << 20;  // of rows that are coded at a time, with copies

uint64_t moments_of(int64_t n, int64_t most) {
  uint64_t values = 0;
  for (const int64_t block : moment_blocks(n, most)) values += static_cast<uint64_t>(block * block);
  return values * sizeof(float);
}

// Sizes of a graph in bytes, activations per token.
struct Sizes {
  uint64_t weights = 0, codes = 0, largest_target = 0;
  uint64_t largest_op = 0;            // values of the matrices of one product
  uint64_t moments = 0, outputs = 0;  // of all; those of gradients alone
  uint64_t largest_moments = 0;
  uint64_t kept = 0, layer = 0, logits = 0;
};

void add_product(const Graph& graph, const LinearOp& op, int64_t most, Sizes& s) {
  const int64_t n_in = graph.acts[static_cast<size_t>(op.in)].width;
  const bool head = op.parts[0].out == graph.logits;
  uint64_t live = 4 * static_cast<uint64_t>(n_in), values = 0;
  const uint64_t inputs = moments_of(n_in, head ? n_in : most);
  s.moments += (head ? 2 : 1) * inputs;
  if (head) s.outputs += 2 * inputs;
  s.largest_moments = std::max(s.largest_moments, inputs);
  for (const LinearOp::Part& part : op.parts) {
    const int64_t n_out = graph.weights[static_cast<size_t>(part.weight)].n_rows;
    live += 2 * static_cast<uint64_t>(n_out);
    if (head) continue;
    values += static_cast<uint64_t>(n_in * n_out);
    const uint64_t outputs = moments_of(n_out, most);
    s.moments += outputs;
    s.outputs += outputs;
    s.largest_moments = std::max(s.largest_moments, outputs);
  }
  s.largest_op = std::max(s.largest_op, values);
  if (!head) s.layer = std::max(s.layer, live * sizeof(float));
}

Sizes sizes_of(const Graph& graph, int64_t most) {
  Sizes s;
  for (const WeightSpec& w : graph.weights)
    s.weights += static_cast<uint64_t>(w.n_rows * w.n_cols) * sizeof(float);
  for (const Target& t : choose_targets(graph)) {
    s.codes += t.bytes(kMaxBits, t.n_rows);
    s.largest_target = std::max(s.largest_target, static_cast<uint64_t>(t.n_rows * t.n_cols));
  }
  for (const ActSpec& a : graph.acts) s.kept += static_cast<uint64_t>(a.width) * sizeof(float);
  for (const Op& op : graph.ops)
    if (const auto* linear = std::get_if<LinearOp>(&op)) add_product(graph, *linear, most, s);
  s.logits = static_cast<uint64_t>(graph.acts[static_cast<size_t>(graph.logits)].width) * sizeof(float);
  return s;
}

}  // namespace

MemoryPlan plan_memory(const Graph& graph, const CompressOptions& options, int64_t windows) {
  const Sizes s = sizes_of(graph, options.most_moments);
  // Codes of a matrix, a byte each, and the bytes that are kept of it; some of its rows in code space.
  const uint64_t coded =
      s.largest_target + s.largest_target / 2 + std::min(kChunkBytes, 4 * s.largest_target);
  if (options.data_free)  // its size is measured on all of it
    return {std::max(coded, 4 * s.largest_target) + std::min(kReadBytes, 4 * s.largest_target), 0, 0,
            s.codes};
  // Of a product the matrices in code space, and the rows they decode to, too.
  const uint64_t target = std::max(coded, 9 * s.largest_op + s.largest_op / 2);
  const auto tokens = static_cast<uint64_t>(options.window_tokens);
  // While a matrix is coded: two factors, each with three copies in f64.
  const uint64_t factors = 2 * 7 * s.largest_moments;
  MemoryPlan measuring{s.weights, s.moments, (2 * s.kept + 3 * s.logits) * tokens, 0};
  MemoryPlan coding{2 * s.weights + target, s.outputs + factors,
                    s.layer * tokens * static_cast<uint64_t>(windows), s.codes};
  MemoryPlan checking{2 * s.weights, s.outputs, 2 * (s.layer + 2 * s.logits) * tokens, s.codes};
  MemoryPlan healing = checking;
  healing.activations += (2 * s.kept + 3 * s.logits) * tokens;
  const bool heals = options.heal_minutes > 0, searches = options.max_kl > 0;
  for (MemoryPlan* plan : {&coding, &checking, &healing})
    if (searches) {  // the best try is kept beside the next
      plan->weights += s.weights;
      plan->codes *= 2;
    }
  MemoryPlan most = measuring;
  for (const MemoryPlan& plan : {coding, heals ? healing : checking})
    if (plan.total() > most.total()) most = plan;
  return most;
}

}  // namespace nutshell::compress
