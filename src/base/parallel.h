// A fixed pool of threads that runs one function on all of them at once (single program, multiple data),
// with a barrier between steps. L0. One run covers a whole forward pass, so that the price of a step is a
// barrier (well under a microsecond while spinning) and not a wake-up.
// With one thread everything is a plain call: the unthreaded wasm build needs nothing else.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>

namespace nutshell {

struct PoolState;

// What a running function knows of its thread. One that no pool made is the only thread.
class Worker {
 public:
  int thread() const { return thread_; }
  int n_threads() const { return n_threads_; }
  // All threads of the run wait for each other; what they wrote before is visible to all afterwards.
  void barrier();
  // The contiguous share [begin, end) of n items that is this thread's, cut at multiples of grain.
  struct Range {
    int64_t begin, end;
  };
  Range share(int64_t n, int64_t grain = 1) const;

 private:
  friend class ThreadPool;
  friend struct PoolState;
  PoolState* pool_ = nullptr;
  int thread_ = 0, n_threads_ = 1;
};

class ThreadPool {
 public:
  enum class Start : uint8_t {
    wait,   // the constructor returns when all threads run
    later,  // threads take part from the run on before which they have begun: a browser's worker cannot wait
  };
  // n_threads: 1 to 255, including the calling thread. Threads that cannot be started are done without.
  explicit ThreadPool(int n_threads, Start start = Start::wait);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Threads that would take part in a run now, and the most that ever will.
  int n_threads() const;
  int max_threads() const { return max_threads_; }
  // Ends threads that have no core to run on, so that a wrong number does not cost half the speed ever after:
  // keeps as many as can meet at a barrier at once. To be called again and again while there is work, between
  // runs: a look takes microseconds when all is well, and none is taken after that. A machine that is only
  // busy for a moment (a browser compiles beside a page that starts) keeps all threads.
  void fit();
  // Runs fn once on every thread, the caller's being thread 0, and returns when all are done.
  // Not reentrant; one run at a time.
  void run(const std::function<void(Worker&)>& fn);

 private:
  void shrink(int n_threads);
  bool barriers_are_quick();
  PoolState* state_;
  int max_threads_ = 1;
  int fitting_threads_ = 1;  // so many are known to have cores
  int failed_looks_ = 0;     // with more
  std::chrono::steady_clock::time_point last_look_;
};

}  // namespace nutshell
