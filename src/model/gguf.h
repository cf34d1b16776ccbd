// GGUF model files, version 2 and 3: hostile bytes -> a checked index of metadata and tensors. L4, on base
// and tensor only. Reads the header; the tensors' bytes are the loader's business. Never trusts a count, a
// size or an offset: each is checked against what the file can hold before anything is allocated.
//
// Format (source: docs/gguf.md of the ggml project), little-endian, nothing aligned before the tensor data:
//
//   "GGUF" | u32 version | u64 n_tensors | u64 n_keys | n_keys * kv | n_tensors * info | padding | tensor
//   data string = u64 length | bytes (UTF-8 by convention, not checked here) kv     = string key | u32 type |
//   value value  = scalar (1, 2, 4, 8 bytes) | string | u32 element type, u64 count, elements (arrays may
//   nest) info   = string name | u32 n_dims (1..4) | n_dims * u64 | u32 ggml_type | u64 offset from the
//   tensor data
//
// Tensor data begins at the next multiple of `general.alignment` (default 32), as does every tensor. dims[0]
// is the extent whose values are contiguous (a matrix of n_out rows with n_in values is dims = n_in, n_out).
// Version 3 differs from 2 only in that big-endian files exist; those are refused with their own message.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "tensor/dtype.h"

namespace nutshell {

// Type ids of metadata values.
enum class GgufType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};
std::string_view name_of(GgufType type);
// Bytes of one value; 0 for strings and arrays.
uint64_t scalar_bytes(GgufType type);

// Limits, far above any real model (Gemma 3: 262,144 tokens, 40 keys; the largest models: some 2,000
// tensors).
inline constexpr uint64_t kGgufMaxKeys = 1u << 16;
inline constexpr uint64_t kGgufMaxTensors = 1u << 17;
inline constexpr uint64_t kGgufMaxNameBytes = 65535;
inline constexpr uint64_t kGgufMaxStringBytes = 1u << 26;
inline constexpr uint64_t kGgufMaxArrayCount = 1u << 26;
inline constexpr uint64_t kGgufMaxTensorValues = 1ull << 40;
inline constexpr uint64_t kGgufMaxAlignment = 1u << 20;
inline constexpr int kGgufMaxNesting = 4;

struct GgufTensor {
  std::string name;
  uint32_t type_id = 0;        // ggml_type
  std::optional<DType> dtype;  // nothing: a type this engine cannot run
  int n_dims = 0;              // 1..4
  std::array<int64_t, 4> dims{1, 1, 1, 1};
  uint64_t offset = 0;  // from GgufFile::data_offset()
  uint64_t bytes = 0;   // 0 when the type is not even known by name

  int64_t n_values() const { return dims[0] * dims[1] * dims[2] * dims[3]; }  // < 2^40
  // "Q4_K", also for known formats that cannot be run; "ggml_type 77" for the rest.
  std::string format_name() const;
};

// A metadata array of strings, in place; valid as long as the GgufFile it came from.
class GgufStrings {
 public:
  GgufStrings(const uint8_t* base, std::span<const uint32_t> offsets) : base_(base), offsets_(offsets) {}
  size_t size() const { return offsets_.size(); }
  std::string_view operator[](size_t i) const {
    const uint8_t* p = base_ + offsets_[i];
    return {reinterpret_cast<const char*>(p) + 8, static_cast<size_t>(load_le<uint64_t>(p))};
  }

 private:
  const uint8_t* base_;
  std::span<const uint32_t> offsets_;  // of the strings' length fields
};

// The parsed header. Owns all it gives; move-only, moving keeps views valid. Thread-safe once parsed.
//
// Getters answer missing_metadata when the key is absent (unless a fallback is given) and corrupt_file when
// its value has another type or does not fit; both name the key.
class GgufFile {
 public:
  struct Value {
    GgufType type;
    GgufType element = GgufType::u8;       // of arrays
    uint64_t count = 1;                    // elements of an array, bytes of a string
    uint32_t offset = 0;                   // of the first byte of content in the metadata
    std::vector<uint32_t> string_offsets;  // arrays of strings only
  };
  struct Entry {
    std::string key;
    Value value;
  };

  GgufFile() = default;
  GgufFile(GgufFile&&) = default;
  GgufFile& operator=(GgufFile&&) = default;

  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  uint64_t file_bytes() const { return file_bytes_; }
  uint64_t data_offset() const { return data_offset_; }  // of the tensor data, from the start of the file
  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // in file order
  const GgufTensor* find_tensor(std::string_view name) const;
  const std::vector<Entry>& entries() const { return entries_; }  // in file order
  const Value* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  bool is_array(std::string_view key) const;
  // The bytes of a value: of a string its characters, of an array its elements as a file has them.
  std::span<const uint8_t> content(const Value& value) const;

  // Any integer type of the file is accepted when the value fits.
  Result<uint32_t> get_u32(std::string_view key) const;
  Result<uint32_t> get_u32(std::string_view key, uint32_t fallback) const;
  Result<int64_t> get_i64(std::string_view key) const;
  Result<int64_t> get_i64(std::string_view key, int64_t fallback) const;
  // f32, f64 or any integer; finite.
  Result<float> get_f32(std::string_view key) const;
  Result<float> get_f32(std::string_view key, float fallback) const;
  Result<bool> get_bool(std::string_view key) const;
  Result<bool> get_bool(std::string_view key, bool fallback) const;
  Result<std::string> get_string(std::string_view key) const;
  Result<std::string> get_string(std::string_view key, std::string_view fallback) const;
  // Arrays. Integers of any type (booleans as 0 and 1); floats of f32 and f64, not checked for being finite.
  Result<GgufStrings> get_strings(std::string_view key) const;
  Result<std::vector<int64_t>> get_i64s(std::string_view key) const;
  Result<std::vector<float>> get_f32s(std::string_view key) const;

 private:
  friend class GgufParser;
  friend class MetadataBuilder;
  Result<const Value*> require(std::string_view key) const;
  Status wrong_type(std::string_view key, const Value& value, std::string_view wanted) const;
  const uint8_t* at(const Value& value) const { return metadata_.data() + value.offset; }

  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  uint64_t file_bytes_ = 0;
  uint64_t data_offset_ = 0;
  std::vector<uint8_t> metadata_;  // the file's bytes up to the end of the last key's value
  std::vector<Entry> entries_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string, size_t> key_index_, tensor_index_;
};

// Parses the header from the first bytes of a file of file_bytes bytes. Nothing: the prefix ends inside the
// header, come again with a longer one. What no longer prefix could cure is an error at once.
// Errors: bad_magic, bad_version, truncated, corrupt_file, limit_exceeded; invalid_argument when the prefix
// is longer than the file. Cost: one pass; copies the metadata. Allocates at most a few times the prefix.
Result<std::optional<GgufFile>> parse_gguf(std::span<const uint8_t> prefix, uint64_t file_bytes);

// A name out of a hostile file, quoted and made printable and short for messages.
std::string quoted(std::string_view name);

}  // namespace nutshell
