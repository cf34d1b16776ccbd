// What an architecture needs to know of the tensors in a model file, whatever the container. L4.
// A matrix of GGUF with ne = (n_in, n_out) is n_rows = n_out, n_cols = n_in; a vector has one row.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tensor/dtype.h"

namespace nutshell {

struct TensorEntry {
  std::string name;
  std::optional<DType> dtype;  // nothing: a format that is not supported
  std::string format_name;     // for messages
  int64_t n_rows = 1, n_cols = 0;
  uint64_t file_offset = 0;  // absolute
  uint64_t bytes = 0;
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
  const std::vector<TensorEntry>& entries() const { return entries_; }

 private:
  std::vector<TensorEntry> entries_;
  std::unordered_map<std::string, size_t> by_name_;
};

}  // namespace nutshell
