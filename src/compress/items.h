// Independent items spread over the threads of a pool. L5. Every item is the same work whoever does it, so
// results do not depend on the number of threads.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/parallel.h"

namespace nutshell::compress {

// Calls fn(i) once for every i in [0, n), in any order, on any thread.
template <typename Fn>
void for_items(ThreadPool& pool, int64_t n, Fn&& fn) {
  std::atomic<int64_t> next{0};
  pool.run([&](Worker&) {
    for (int64_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) fn(i);
  });
}

}  // namespace nutshell::compress
