// A fixed pool of threads that runs one function on all of them at once (single program, multiple data),
// with a barrier between steps. L0. One run covers a whole forward pass, so that the price of a step is a
// barrier (well under a microsecond while spinning) and not a wake-up.
// With one thread everything is a plain call: the unthreaded wasm build needs nothing else.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

namespace nutshell {

class ThreadPool;

// What a running function knows of its thread.
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
  ThreadPool* pool_ = nullptr;
  int thread_ = 0, n_threads_ = 1;
};

class ThreadPool {
 public:
  // n_threads >= 1, including the calling thread. Threads that cannot be started are done without;
  // n_threads() tells how many there are.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return n_threads_; }
  // Runs fn once on every thread, the caller's being thread 0, and returns when all are done.
  // Not reentrant; one run at a time.
  void run(const std::function<void(Worker&)>& fn);

 private:
  friend class Worker;
  void barrier();
  static void* thread_main(void* argument);
  struct State;
  std::unique_ptr<State> state_;
  int n_threads_ = 1;
};

}  // namespace nutshell
