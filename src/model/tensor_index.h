// What an architecture needs to know of the tensors in a model file, whatever the container. L4.
// A matrix of GGUF with ne = (n_in, n_out) is n_rows = n_out, n_cols = n_in; a vector has one row.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "tensor/dtype.h"
#include "tensor/trellis.h"

namespace nutshell {

// Rows of a tensor that lie together in one file.
struct TensorPiece {
  uint32_t file = 0;  // index into the model's files
  uint64_t offset = 0;
  int64_t n_rows = 0;
};

// What the loader does to a tensor's values on their way to the back end.
enum class TensorTransform : uint8_t {
  none,
  plus_one,    // each value + 1, as f32: norms stored as their distance from 1
  transposed,  // stored [n_in, n_out], values of 2 or 4 bytes
};

struct TensorEntry {
  std::string name;
  std::optional<DType> dtype;  // nothing: a format that is not supported
  std::string format_name;     // for messages
  std::vector<int64_t> shape;  // as GGUF has it: the contiguous extent first
  int64_t n_rows = 1, n_cols = 0;
  uint64_t bytes = 0;  // in the files
  TensorTransform transform = TensorTransform::none;
  DType stored_dtype = DType::f32;   // in the file, where there is a transform
  std::vector<TensorPiece> pieces;   // in row order; their rows add up to n_rows (padded, when coded)
  TrellisRows coded;                 // of the trellis formats; dtype is the first run's
  std::optional<uint64_t> rotation;  // seed of the rotation the matrix is stored under

  // 3-D tensors: the rows are that many equal matrices, one after the other.
  int64_t n_slices() const {
    int64_t n = 1;
    for (size_t i = 2; i < shape.size(); ++i) n *= shape[i];
    return n;
  }
  // unsupported_format naming tensor and format, and what is supported, when dtype is nothing.
  Status check_supported() const;
};

class TensorIndex {
 public:
  void add(TensorEntry entry) {
    by_name_.emplace(entry.name, entries_.size());
    entries_.push_back(std::move(entry));
  }
  const TensorEntry* find(const std::string& name) const {
    const auto it = by_name_.find(name);
    return it == by_name_.end() ? nullptr : &entries_[it->second];
  }
  TensorEntry* find(const std::string& name) {
    return const_cast<TensorEntry*>(static_cast<const TensorIndex*>(this)->find(name));
  }
  const std::vector<TensorEntry>& entries() const { return entries_; }
  // File numbers become places[number]: for a caller that has more files than the model.
  void place_files(const std::vector<uint32_t>& places) {
    for (TensorEntry& entry : entries_)
      for (TensorPiece& piece : entry.pieces) piece.file = places[piece.file];
  }

 private:
  std::vector<TensorEntry> entries_;
  std::unordered_map<std::string, size_t> by_name_;
};

}  // namespace nutshell
