// Long work that its caller drives: a coroutine that stops at every bounded piece of work, and wherever it
// wants bytes or has bytes to give. L5. The caller pulls; not pulling again is stopping, and what was reached
// stays as it is. Nothing here knows of files, so the same steps run natively (io.h) and in a browser.
#pragma once

#include <coroutine>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace nutshell::compress {

// measuring: the model runs on text; weighing: what that says of every row.
enum class Stage : uint8_t { reading, measuring, weighing, coding, healing, checking, writing };
std::string_view name_of(Stage stage);

// What a step did, or wants before the next one.
struct JobStep {
  enum class Kind : uint8_t {
    worked,  // `done` of `of` pieces of the stage are done
    read,    // wants the bytes [offset, offset + target.size()) of a file of the model in `target`
    recall,  // wants the bytes that were kept under `name` in `target`
    keep,    // `bytes` are to be kept under `name`, all or nothing, in the place of what was there
    drop,    // what is kept under `name` is of no use any more
    write,   // `bytes` are the next ones of the file that is made
  };
  Kind kind = Kind::worked;
  Stage stage = Stage::reading;
  int64_t done = 0, of = 0;
  uint32_t file = 0;
  uint64_t offset = 0;
  std::span<uint8_t> target;
  std::string_view name;
  std::span<const uint8_t> bytes;  // these, target and name are valid until the next step
};
inline JobStep worked(Stage stage, int64_t done, int64_t of) {
  return {JobStep::Kind::worked, stage, done, of, 0, 0, {}, {}, {}};
}
inline JobStep read_into(uint32_t file, uint64_t offset, std::span<uint8_t> target) {
  return {JobStep::Kind::read, Stage::reading, 0, 0, file, offset, target, {}, {}};
}
inline JobStep recall_into(std::string_view name, std::span<uint8_t> target) {
  return {JobStep::Kind::recall, Stage::reading, 0, 0, 0, 0, target, name, {}};
}
inline JobStep keep_bytes(std::string_view name, std::span<const uint8_t> bytes) {
  return {JobStep::Kind::keep, Stage::coding, 0, 0, 0, 0, {}, name, bytes};
}
inline JobStep drop_bytes(std::string_view name) {
  return {JobStep::Kind::drop, Stage::coding, 0, 0, 0, 0, {}, name, {}};
}
inline JobStep write_bytes(std::span<const uint8_t> bytes) {
  return {JobStep::Kind::write, Stage::writing, 0, 0, 0, 0, {}, {}, bytes};
}

// A function that answers Steps is a coroutine: co_yield a JobStep, co_return a Status. What its reference
// parameters name must outlive it.
class [[nodiscard]] Steps {
 public:
  struct promise_type {
    JobStep step;
    Status status;
    Steps get_return_object() { return Steps(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    std::suspend_always yield_value(const JobStep& made) noexcept {
      step = made;
      return {};
    }
    void return_value(Status ended) { status = std::move(ended); }
    void unhandled_exception() {}
  };

  Steps(Steps&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Steps& operator=(Steps&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;
  ~Steps() {
    if (handle_) handle_.destroy();
  }

  // Runs to the next step; false at the end, which status() tells of.
  bool next() {
    if (!handle_.done()) handle_.resume();
    return !handle_.done();
  }
  const JobStep& step() const { return handle_.promise().step; }
  const Status& status() const { return handle_.promise().status; }

 private:
  explicit Steps(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

// Inside of a coroutine: all steps of another one as its own; its error ends this one.
#define RUN_STEPS(expr)                                                                \
  for (::nutshell::compress::Steps steps_ = (expr);;) {                                \
    if (!steps_.next()) {                                                              \
      if (::nutshell::Status ended_ = steps_.status(); !ended_.ok()) co_return ended_; \
      break;                                                                           \
    }                                                                                  \
    co_yield steps_.step();                                                            \
  }
// As RETURN_IF_ERROR.
#define CO_RETURN_IF_ERROR(expr) \
  if (::nutshell::Status status_ = (expr); !status_.ok()) co_return status_

}  // namespace nutshell::compress
