#include "engine/memory_plan.h"

#include <cstdio>
#include <string>

namespace nutshell {
namespace {

constexpr int64_t kSmallestContext = 256;

bool fits(const Backend& backend, const Graph& graph, Extents extents, int64_t n_ctx, uint64_t extra,
          uint64_t available) {
  extents.n_ctx = n_ctx;
  const Result<MemoryNeeds> needs = backend.plan(graph, extents);
  return needs.ok() && needs->total() + extra <= available;
}

// The largest multiple of kSmallestContext below n_ctx that fits, or 0.
int64_t largest_context(const Backend& backend, const Graph& graph, const Extents& extents, uint64_t extra,
                        uint64_t available) {
  int64_t low = 0, high = extents.n_ctx / kSmallestContext;
  while (low < high) {
    const int64_t mid = (low + high + 1) / 2;
    if (fits(backend, graph, extents, mid * kSmallestContext, extra, available)) {
      low = mid;
    } else {
      high = mid - 1;
    }
  }
  return low * kSmallestContext;
}

}  // namespace

std::string format_bytes(uint64_t bytes) {
  char text[32];
  if (bytes >= 1000000000) {
    std::snprintf(text, sizeof(text), "%.2f GB", static_cast<double>(bytes) / 1e9);
  } else if (bytes >= 1000000) {
    std::snprintf(text, sizeof(text), "%.1f MB", static_cast<double>(bytes) / 1e6);
  } else {
    std::snprintf(text, sizeof(text), "%llu bytes", static_cast<unsigned long long>(bytes));
  }
  return text;
}

Result<MemoryNeeds> check_memory(const Backend& backend, const Graph& graph, const Extents& extents,
                                 uint64_t extra_bytes, uint64_t available_bytes) {
  ASSIGN_OR_RETURN(const MemoryNeeds needs, backend.plan(graph, extents));
  const uint64_t total = needs.total() + extra_bytes;
  if (available_bytes == 0 || total <= available_bytes) return needs;
  std::string message = "the model needs " + format_bytes(total) + " (weights " +
                        format_bytes(needs.weights_bytes) + ", " + std::to_string(extents.n_ctx) +
                        " tokens of context " + format_bytes(needs.kv_bytes) + ", work space " +
                        format_bytes(needs.scratch_bytes + extra_bytes) +
                        "); available: " + format_bytes(available_bytes) + "; ";
  const int64_t n_ctx = largest_context(backend, graph, extents, extra_bytes, available_bytes);
  message += n_ctx > 0 ? "a context of " + std::to_string(n_ctx) + " tokens would fit"
                       : "no context size makes this model fit";
  return Status(ErrorCode::out_of_memory, std::move(message));
}

}  // namespace nutshell
