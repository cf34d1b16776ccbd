// Spin, then sleep: threads spin for some tens of microseconds (a decode step never sleeps between ops)
// and then wait on a futex, so that an idle or oversubscribed machine is not burnt (PEERS.md C4: a pure
// spin barrier collapses by 80 x when there are more threads than cores).
#include "base/parallel.h"

#include <algorithm>
#include <chrono>
#include <deque>

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

// Threads get their numbers in the order in which they come to life, so that those that are there are always
// 0 .. n - 1. A run's generation carries the number of its threads: one word, so that a thread that wakes
// late never takes the one for the other.
struct PoolState {
  static constexpr int kMaxThreads = 255;
  struct Created {
    PoolState* pool;
    pthread_t id;
    std::atomic<int> number{0};  // 0: not alive yet
  };
  std::deque<Created> threads;
  const std::function<void(Worker&)>* fn = nullptr;
  alignas(64) std::atomic<uint32_t> generation{0};  // of the run, times 256, plus its number of threads
  alignas(64) std::atomic<uint32_t> barrier_generation{0};
  alignas(64) std::atomic<int> arrived{0};
  std::atomic<int> last_number{0};
  std::atomic<uint32_t> ready{0};       // threads that are alive, the caller's not counted
  std::atomic<int> limit{kMaxThreads};  // threads from this number on end

  int n_threads() const {
    return std::min(static_cast<int>(ready.load(std::memory_order_acquire)) + 1,
                    limit.load(std::memory_order_relaxed));
  }

  void begin_run(int n_threads) {
    const uint32_t next = ((generation.load(std::memory_order_relaxed) >> 8) + 1) << 8;
    set_and_wake(generation, next | static_cast<uint32_t>(n_threads));
  }

  void barrier(int n_threads) {
    if (n_threads == 1) return;
    const uint32_t now = barrier_generation.load(std::memory_order_acquire);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == n_threads - 1) {
      arrived.store(0, std::memory_order_relaxed);
      set_and_wake(barrier_generation, now + 1);
    } else {
      wait_while_equal(barrier_generation, now);
    }
  }

  void take_part(int number, int n_threads) {
    Worker worker;
    worker.pool_ = this;
    worker.thread_ = number;
    worker.n_threads_ = n_threads;
    (*fn)(worker);
    barrier(n_threads);
  }

  void live(Created& self) {
    // Before it has a number: a run that counts this thread has a generation that it has not seen.
    uint32_t seen = generation.load(std::memory_order_seq_cst);
    const int number = last_number.fetch_add(1, std::memory_order_seq_cst) + 1;
    self.number.store(number, std::memory_order_seq_cst);
    ready.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers.load(std::memory_order_seq_cst) != 0) futex_wake_all(ready);
    while (number < limit.load(std::memory_order_seq_cst)) {
      wait_while_equal(generation, seen);
      seen = generation.load(std::memory_order_seq_cst);
      const int n = static_cast<int>(seen & 255);
      if (number < n) take_part(number, n);
    }
  }

  static void* thread_main(void* argument) {
    auto& self = *static_cast<Created*>(argument);
    self.pool->live(self);
    return nullptr;
  }
};

// pthread_create rather than std::thread: a thread that cannot be started is an answer, not an exception.
ThreadPool::ThreadPool(int n_threads, Start start) : state_(new PoolState) {
  PoolState& s = *state_;
  n_threads = std::clamp(n_threads, 1, PoolState::kMaxThreads);
  for (int t = 1; t < n_threads; ++t) {
    PoolState::Created& created = s.threads.emplace_back();
    created.pool = &s;
    if (pthread_create(&created.id, nullptr, &PoolState::thread_main, &created) != 0) {
      s.threads.pop_back();
      break;
    }
  }
  max_threads_ = static_cast<int>(s.threads.size()) + 1;
  if (start == Start::later) return;
  for (uint32_t n; n = s.ready.load(std::memory_order_acquire), n < s.threads.size();)
    wait_while_equal(s.ready, n);
}

int ThreadPool::n_threads() const { return state_->n_threads(); }

// A thread that has not begun yet finds the limit when it does, so what it looks at must stay: a few bytes
// are given up in the rare case that an engine ends before its threads have begun.
ThreadPool::~ThreadPool() {
  shrink(1);
  for (const PoolState::Created& t : state_->threads)
    if (t.number.load(std::memory_order_seq_cst) == 0) return;
  delete state_;
}

void ThreadPool::shrink(int n_threads) {
  PoolState& s = *state_;
  const int before = s.limit.exchange(n_threads, std::memory_order_seq_cst);
  s.begin_run(0);
  for (PoolState::Created& t : s.threads) {
    const int number = t.number.load(std::memory_order_seq_cst);
    if (number >= n_threads && number < before) pthread_join(t.id, nullptr);
  }
}

// A barrier takes well under a microsecond when every thread has a core, and the length of a spin or of a
// time slice when one has not. The best of some bursts counts: in the first ones threads wake up.
bool ThreadPool::barriers_are_quick() {
  using Clock = std::chrono::steady_clock;
  constexpr int kBarriers = 64, kBursts = 3;
  constexpr std::chrono::microseconds kQuick(kBarriers * 10);
  for (int burst = 0; burst < kBursts; ++burst) {
    const Clock::time_point start = Clock::now();
    run([](Worker& w) {
      for (int i = 0; i < kBarriers; ++i) w.barrier();
    });
    if (Clock::now() - start < kQuick) return true;
  }
  return false;
}

// Looks are some milliseconds apart, so that others have the core meanwhile.
void ThreadPool::fit() {
  using Clock = std::chrono::steady_clock;
  constexpr int kLooks = 20;
  constexpr std::chrono::milliseconds kApart(8);
  const int n = n_threads();
  if (n <= fitting_threads_ || (failed_looks_ > 0 && Clock::now() - last_look_ < kApart)) return;
  if (barriers_are_quick()) {
    fitting_threads_ = n;
    failed_looks_ = 0;
    return;
  }
  last_look_ = Clock::now();
  if (++failed_looks_ < kLooks) return;
  failed_looks_ = 0;
  shrink(n - std::max(1, n / 4));
}

void ThreadPool::run(const std::function<void(Worker&)>& fn) {
  PoolState& s = *state_;
  const int n = s.n_threads();
  s.fn = &fn;
  if (n > 1) s.begin_run(n);
  s.take_part(0, n);
}

void Worker::barrier() {
  if (n_threads_ > 1) pool_->barrier(n_threads_);
}

#else  // one thread

struct PoolState {};
ThreadPool::ThreadPool(int, Start) : state_(nullptr) {}
ThreadPool::~ThreadPool() = default;
int ThreadPool::n_threads() const { return 1; }
void ThreadPool::fit() {}
void ThreadPool::run(const std::function<void(Worker&)>& fn) {
  Worker worker;
  fn(worker);
}
void Worker::barrier() {}

#endif

Worker::Range Worker::share(int64_t n, int64_t grain) const {
  const int64_t n_grains = (n + grain - 1) / grain;
  const int64_t begin = n_grains * thread_ / n_threads_ * grain;
  const int64_t end = n_grains * (thread_ + 1) / n_threads_ * grain;
  return {std::min(begin, n), std::min(end, n)};
}

}  // namespace nutshell
