#include "base/parallel.h"

#include <doctest/doctest.h>

#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

using namespace nutshell;

TEST_CASE("every thread runs once and the barrier orders their writes") {
  for (int n : {1, 2, 3, 4}) {
    ThreadPool pool(n);
    const int actual = pool.n_threads();
    std::vector<int> first(static_cast<size_t>(actual)), sums(static_cast<size_t>(actual));
    for (int round = 1; round <= 200; ++round) {
      pool.run([&](Worker& w) {
        first[static_cast<size_t>(w.thread())] = round;
        w.barrier();
        sums[static_cast<size_t>(w.thread())] = std::accumulate(first.begin(), first.end(), 0);
        w.barrier();
      });
      for (int s : sums) REQUIRE(s == round * actual);
    }
  }
}

TEST_CASE("shares cover everything once and cut at the grain") {
  ThreadPool pool(3);
  for (int64_t n : {0, 1, 15, 16, 17, 100, 1536}) {
    for (int64_t grain : {1, 4, 16}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
      pool.run([&](Worker& w) {
        const auto r = w.share(n, grain);
        if (r.begin < r.end) CHECK(r.begin % grain == 0);
        for (int64_t i = r.begin; i < r.end; ++i) ++hits[static_cast<size_t>(i)];
      });
      for (auto& h : hits) REQUIRE(h == 1);
    }
  }
}

TEST_CASE("a pool that was fitted still works, with at least one thread and no more than before") {
  for (int n : {1, 2, 5}) {
    ThreadPool pool(n);
    for (int look = 0; look < 30; ++look) {
      pool.fit();
      if (n > 2) std::this_thread::sleep_for(std::chrono::milliseconds(9));
    }
    const int actual = pool.n_threads();
    CHECK(actual >= 1);
    CHECK(actual <= n);
    std::atomic<int> runs = 0;
    for (int round = 0; round < 50; ++round)
      pool.run([&](Worker& w) {
        ++runs;
        w.barrier();
        CHECK(w.n_threads() == actual);
      });
    CHECK(runs == 50 * actual);
  }
}
