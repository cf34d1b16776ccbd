// Builds the header of a GGUF file (layout: model/gguf.h) whose keys are another file's plus new ones. L5.
// The tensors' bytes follow the header, each padded to the alignment.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf.h"

namespace nutshell::compress {

struct TensorOut {
  std::string name;
  std::vector<uint64_t> dims;
  uint32_t type_id = 0;
  uint64_t bytes = 0;
};

class GgufWriter {
 public:
  explicit GgufWriter(const GgufFile& source);
  void add(std::string_view key, uint32_t value);
  void add(std::string_view key, uint64_t value);
  void add(std::string_view key, float value);
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, const std::vector<std::string>& values);
  void add(std::string_view key, const std::vector<uint16_t>& values);
  void add(std::string_view key, const std::vector<uint32_t>& values);
  void add(std::string_view key, const std::vector<float>& values);
  void add_bytes(std::string_view key, std::span<const uint8_t> values, GgufType element);
  // Tensor data begins at the header's end, tensor i at the sum of the padded sizes before it.
  std::vector<uint8_t> header(const std::vector<TensorOut>& tensors) const;
  uint64_t padded(uint64_t bytes) const { return (bytes + alignment_ - 1) / alignment_ * alignment_; }

 private:
  void begin(std::string_view key, GgufType type);
  void begin_array(std::string_view key, GgufType element, uint64_t count);
  uint64_t alignment_, n_keys_;
  std::vector<uint8_t> keys_;
};

}  // namespace nutshell::compress
