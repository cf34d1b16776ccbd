// Status and Result<T>: how every fallible function of the core reports. No exceptions anywhere.
// L0: knows nothing of the project. The codes come from error_codes.def.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace nutshell {

enum class ErrorCode {
  ok,
#define X(code, message, advice) code,
#include "base/error_codes.def"
#undef X
};

// Name as it crosses the border ("bad_magic"), default message and advice; "ok" and empty for ok.
std::string_view error_name(ErrorCode code);
std::string_view error_message(ErrorCode code);
std::string_view error_advice(ErrorCode code);
int error_code_count();

// Success or a typed error whose message says what is wrong with names and numbers.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  static Status ok_status() { return {}; }

  bool ok() const { return code_ == ErrorCode::ok; }
  ErrorCode code() const { return code_; }
  // The specific message, or the code's default one when none was given.
  std::string message() const { return message_.empty() ? std::string(error_message(code_)) : message_; }

 private:
  ErrorCode code_ = ErrorCode::ok;
  std::string message_;
};

// A value or an error. Precondition of value(): ok().
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT: implicit on purpose
  Result(Status status) : status_(std::move(status)) {}  // NOLINT: implicit on purpose
  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() { return *value_; }
  const T& value() const { return *value_; }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

#define NUTSHELL_CONCAT_(a, b) a##b
#define NUTSHELL_CONCAT(a, b) NUTSHELL_CONCAT_(a, b)
// Returns the error of a Status expression from the calling function.
#define RETURN_IF_ERROR(expr)                                               \
  do {                                                                      \
    if (::nutshell::Status status_ = (expr); !status_.ok()) return status_; \
  } while (0)
// lhs = value of a Result expression, or returns its error from the calling function.
#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_IMPL_(NUTSHELL_CONCAT(result_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                           \
  if (!tmp.ok()) return tmp.status();          \
  lhs = std::move(tmp.value())

}  // namespace nutshell
