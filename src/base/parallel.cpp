// Spin, then sleep: threads spin for some tens of microseconds (a decode step never sleeps between ops)
// and then wait on a futex, so that an idle or oversubscribed machine is not burnt (PEERS.md C4: a pure
// spin barrier collapses by 80 x when there are more threads than cores).
#include "base/parallel.h"

#include <algorithm>
#include <vector>

#if !defined(__EMSCRIPTEN__) || defined(__EMSCRIPTEN_PTHREADS__)
#define NUTSHELL_THREADS 1
#include <pthread.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#endif

namespace nutshell {

#ifdef NUTSHELL_THREADS

namespace {

// About 50 microseconds: longer than any imbalance between the threads of a step. Wasm has no pause
// instruction, so a turn there is only the load, about a nanosecond.
#ifdef __wasm__
constexpr int kSpins = 40000;
#else
constexpr int kSpins = 2000;
#endif

inline void cpu_relax() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#endif
}

// Sleeps while value == old, until woken. libc++ for wasm may fall back to polling, so ask for the futex by
// name.
void futex_wait(std::atomic<uint32_t>& value, uint32_t old) {
#ifdef __wasm__
  __builtin_wasm_memory_atomic_wait32(reinterpret_cast<int*>(&value), static_cast<int>(old), -1);
#else
  value.wait(old, std::memory_order_acquire);
#endif
}

void futex_wake_all(std::atomic<uint32_t>& value) {
#ifdef __wasm__
  __builtin_wasm_memory_atomic_notify(reinterpret_cast<int*>(&value), 0x7fffffff);
#else
  value.notify_all();
#endif
}

// How many threads sleep or are about to. Waking costs a call into the browser (several microseconds), so it
// is done only when someone sleeps. Sequentially consistent on both sides: either the waker sees the sleeper,
// or the sleeper's futex sees the new value.
std::atomic<uint32_t> sleepers{0};

void set_and_wake(std::atomic<uint32_t>& value, uint32_t now) {
  value.store(now, std::memory_order_seq_cst);
  if (sleepers.load(std::memory_order_seq_cst) != 0) futex_wake_all(value);
}

// Waits until value differs from old.
void wait_while_equal(std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    cpu_relax();
  }
  sleepers.fetch_add(1, std::memory_order_seq_cst);
  while (value.load(std::memory_order_seq_cst) == old) futex_wait(value, old);
  sleepers.fetch_sub(1, std::memory_order_seq_cst);
}

}  // namespace

struct ThreadPool::State {
  struct Start {
    ThreadPool* pool;
    int thread;
  };
  std::vector<pthread_t> threads;
  std::vector<Start> starts;
  const std::function<void(Worker&)>* fn = nullptr;
  alignas(64) std::atomic<uint32_t> run_generation{0};
  alignas(64) std::atomic<uint32_t> barrier_generation{0};
  alignas(64) std::atomic<int> arrived{0};
  std::atomic<bool> stopping{false};
};

// pthread_create rather than std::thread: a thread that cannot be started is an answer, not an exception.
ThreadPool::ThreadPool(int n_threads) : state_(std::make_unique<State>()) {
  n_threads = std::max(1, n_threads);
  state_->starts.reserve(static_cast<size_t>(n_threads));
  for (int t = 1; t < n_threads; ++t) {
    state_->starts.push_back({this, t});
    pthread_t id;
    if (pthread_create(&id, nullptr, &ThreadPool::thread_main, &state_->starts.back()) != 0) break;
    state_->threads.push_back(id);
  }
  n_threads_ = static_cast<int>(state_->threads.size()) + 1;
}

void* ThreadPool::thread_main(void* argument) {
  const State::Start start = *static_cast<State::Start*>(argument);
  ThreadPool& pool = *start.pool;
  for (uint32_t seen = 0;; ++seen) {
    wait_while_equal(pool.state_->run_generation, seen);
    if (pool.state_->stopping.load(std::memory_order_acquire)) return nullptr;
    Worker worker;
    worker.pool_ = &pool;
    worker.thread_ = start.thread;
    worker.n_threads_ = pool.n_threads_;
    (*pool.state_->fn)(worker);
    pool.barrier();
  }
}

ThreadPool::~ThreadPool() {
  state_->stopping.store(true, std::memory_order_release);
  set_and_wake(state_->run_generation, state_->run_generation.load(std::memory_order_relaxed) + 1);
  for (pthread_t id : state_->threads) pthread_join(id, nullptr);
}

void ThreadPool::run(const std::function<void(Worker&)>& fn) {
  state_->fn = &fn;
  if (n_threads_ > 1) {
    set_and_wake(state_->run_generation, state_->run_generation.load(std::memory_order_relaxed) + 1);
  }
  Worker worker;
  worker.pool_ = this;
  worker.n_threads_ = n_threads_;
  fn(worker);
  barrier();
}

void ThreadPool::barrier() {
  if (n_threads_ == 1) return;
  State& s = *state_;
  const uint32_t generation = s.barrier_generation.load(std::memory_order_acquire);
  if (s.arrived.fetch_add(1, std::memory_order_acq_rel) == n_threads_ - 1) {
    s.arrived.store(0, std::memory_order_relaxed);
    set_and_wake(s.barrier_generation, generation + 1);
  } else {
    wait_while_equal(s.barrier_generation, generation);
  }
}

#else  // one thread

struct ThreadPool::State {};
ThreadPool::ThreadPool(int) {}
ThreadPool::~ThreadPool() = default;
void ThreadPool::run(const std::function<void(Worker&)>& fn) {
  Worker worker;
  worker.pool_ = this;
  fn(worker);
}
void ThreadPool::barrier() {}

#endif

void Worker::barrier() { pool_->barrier(); }

Worker::Range Worker::share(int64_t n, int64_t grain) const {
  const int64_t n_grains = (n + grain - 1) / grain;
  const int64_t begin = n_grains * thread_ / n_threads_ * grain;
  const int64_t end = n_grains * (thread_ + 1) / n_threads_ * grain;
  return {std::min(begin, n), std::min(end, n)};
}

}  // namespace nutshell
