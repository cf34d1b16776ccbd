// Bounds-checked little-endian reading over a span of bytes, and checked 64-bit arithmetic.
// L0. All files and all supported machines are little-endian; a big-endian build is refused below.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace nutshell {

static_assert(std::endian::native == std::endian::little,
              "the formats are read in place: little-endian only");

// a * b and a + b, or nothing when the result does not fit 64 bits.
inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}
inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

// Unaligned load of a trivially copyable value.
template <typename T>
T load_le(const void* p) {
  static_assert(std::is_trivially_copyable_v<T>);
  T v;
  std::memcpy(&v, p, sizeof(T));
  return v;
}

// Reads forward; every read answers false and leaves the position when the bytes do not suffice.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }

  template <typename T>
  bool read(T& out) {
    if (remaining() < sizeof(T)) return false;
    out = load_le<T>(bytes_.data() + position_);
    position_ += sizeof(T);
    return true;
  }
  bool skip(uint64_t n) {
    if (n > remaining()) return false;
    position_ += static_cast<size_t>(n);
    return true;
  }
  // A view into the underlying bytes, valid as long as they are.
  bool view(uint64_t n, std::string_view& out) {
    if (n > remaining()) return false;
    out = {reinterpret_cast<const char*>(bytes_.data()) + position_, static_cast<size_t>(n)};
    position_ += static_cast<size_t>(n);
    return true;
  }

 private:
  std::span<const uint8_t> bytes_;
  size_t position_ = 0;
};

}  // namespace nutshell
