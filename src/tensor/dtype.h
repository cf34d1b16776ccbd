// Element and block types of tensors: what a format is called, and how many values fill how many bytes.
// L1. The list is dtypes.def; the meaning of the bytes is in src/quant.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace nutshell {

enum class DType : uint8_t {
#define X(id, name, gguf_id, block_length, block_bytes) id,
#include "tensor/dtypes.def"
#undef X
#define X(id, name, bits) id,
#include "tensor/trellis.def"
#undef X
};

struct DTypeInfo {
  DType dtype;
  std::string_view name;  // as in GGUF files and in `inspect`
  uint32_t gguf_id;       // ggml_type
  int64_t block_length;   // values per block
  int64_t block_bytes;    // bytes per block
};

inline constexpr DTypeInfo kDTypes[] = {
#define X(id, name, gguf_id, block_length, block_bytes) {DType::id, name, gguf_id, block_length, block_bytes},
#include "tensor/dtypes.def"
#undef X
};
inline constexpr int kDTypeCount = sizeof(kDTypes) / sizeof(kDTypes[0]);

// The trellis formats: 32 values of a row take 4 bits-per-weight bytes; a row has a scale of 2 bytes besides,
// and rows are stored in whole groups of 16. They have no GGUF type of their own.
inline constexpr uint32_t kNoGgufId = 0xffffffffu;
inline constexpr int64_t kTrellisRows = 16;
inline constexpr DTypeInfo kTrellisTypes[] = {
#define X(id, name, bits) {DType::id, name, kNoGgufId, 32, 4 * bits},
#include "tensor/trellis.def"
#undef X
};
constexpr bool is_trellis(DType dtype) { return static_cast<int>(dtype) >= kDTypeCount; }

constexpr const DTypeInfo& info_of(DType dtype) {
  const int i = static_cast<int>(dtype);
  return i < kDTypeCount ? kDTypes[i] : kTrellisTypes[i - kDTypeCount];
}
constexpr std::string_view name_of(DType dtype) { return info_of(dtype).name; }

// Nothing for an id that is not supported.
constexpr std::optional<DType> dtype_of_gguf_id(uint32_t id) {
  for (const DTypeInfo& info : kDTypes)
    if (info.gguf_id == id) return info.dtype;
  return std::nullopt;
}

// Bytes of a row of n values. Precondition: n is a multiple of the block length and small enough (< 2^40).
constexpr int64_t row_bytes(DType dtype, int64_t n) {
  return n / info_of(dtype).block_length * info_of(dtype).block_bytes + (is_trellis(dtype) ? 2 : 0);
}
// Rows that a matrix of n_rows rows has in a file: more only for the trellis formats.
constexpr int64_t stored_rows(DType dtype, int64_t n_rows) {
  return is_trellis(dtype) ? (n_rows + kTrellisRows - 1) / kTrellisRows * kTrellisRows : n_rows;
}

}  // namespace nutshell
