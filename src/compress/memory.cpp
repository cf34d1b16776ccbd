#include "compress/memory.h"

#include <algorithm>

#include "compress/targets.h"

namespace nutshell::compress {
namespace {

uint64_t square(int64_t n) { return static_cast<uint64_t>(n) * static_cast<uint64_t>(n) * sizeof(float); }

}  // namespace

MemoryPlan plan_memory(const Graph& graph, const CompressOptions& options, int64_t windows) {
  MemoryPlan plan;
  for (const WeightSpec& w : graph.weights)
    plan.weights += 2 * static_cast<uint64_t>(w.n_rows * w.n_cols) * sizeof(float);
  for (const Target& t : choose_targets(graph)) plan.codes += t.bytes(kMaxBits, t.n_rows);
  uint64_t kept = 0, layer = 0;  // floats per token
  for (const ActSpec& a : graph.acts) kept += static_cast<uint64_t>(a.width);
  for (const Op& op : graph.ops) {
    const auto* linear = std::get_if<LinearOp>(&op);
    if (linear == nullptr) continue;
    const int64_t n_in = graph.acts[static_cast<size_t>(linear->in)].width;
    uint64_t live = 4 * static_cast<uint64_t>(n_in);
    const bool head = linear->parts[0].out == graph.logits;
    // The moments of a product's input and outputs; while it is coded, two more and the factors in f64.
    plan.statistics += (head ? 2 : 1) * square(n_in);
    for (const LinearOp::Part& part : linear->parts) {
      const int64_t n_out = graph.weights[static_cast<size_t>(part.weight)].n_rows;
      live += 2 * static_cast<uint64_t>(n_out);
      if (!head) plan.statistics += square(n_out);
    }
    if (!head) layer = std::max(layer, live);
  }
  if (options.data_free) plan.statistics = 0;
  if (options.max_kl > 0) {  // the best try is kept beside the next
    plan.weights += plan.weights / 2;
    plan.codes *= 2;
  }
  const uint64_t n_vocab = static_cast<uint64_t>(graph.acts[static_cast<size_t>(graph.logits)].width);
  const auto tokens = static_cast<uint64_t>(options.window_tokens);
  // Values and gradients of a window, and its logits three times; or all windows at one product.
  const uint64_t backward = (2 * kept + 3 * n_vocab) * tokens,
                 coding = layer * tokens * static_cast<uint64_t>(windows);
  plan.activations = std::max(backward, coding) * sizeof(float);
  return plan;
}

}  // namespace nutshell::compress
