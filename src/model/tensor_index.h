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

struct TensorEntry {
  std::string name;
  std::optional<DType> dtype;  // nothing: a format that is not supported
  std::string format_name;     // for messages
  std::vector<int64_t> shape;  // as GGUF has it: the contiguous extent first
  int64_t n_rows = 1, n_cols = 0;
  uint64_t bytes = 0;
  std::vector<TensorPiece> pieces;   // in row order; their rows add up to n_rows (padded, when coded)
  TrellisCode code{};                // of the trellis formats
  std::optional<uint64_t> rotation;  // seed of the rotation the matrix is stored under

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

 private:
  std::vector<TensorEntry> entries_;
  std::unordered_map<std::string, size_t> by_name_;
};

}  // namespace nutshell
