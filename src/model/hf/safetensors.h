// Safetensors files: hostile bytes -> a checked list of tensors. L4. Reads the header only.
//
// Format (source: the safetensors project's README and its Rust reference, 0.8):
//   u64 n, little-endian | n bytes of JSON, may end in spaces | tensor data
//   JSON: {"<name>": {"dtype": "F32", "shape": [rows, ..., columns], "data_offsets": [begin, end]}, ...,
//          "__metadata__": {text: text}}
// Offsets count from the tensor data; the last extent is contiguous; the tensors fill the data without holes
// and overlaps.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace nutshell {

// Real headers take some 120 bytes per tensor; the reference allows 100 MB.
inline constexpr uint64_t kSafetensorsMaxHeaderBytes = 16u << 20;
inline constexpr uint64_t kSafetensorsLengthBytes = 8;

struct SafetensorsTensor {
  std::string name;
  std::string dtype;           // "F32", "BF16", ...; may be one that is not known
  std::vector<int64_t> shape;  // outermost first, as in PyTorch; every extent > 0, product < 2^40
  uint64_t offset = 0;         // from the start of the file
  uint64_t bytes = 0;

  int64_t n_values() const;
};

// Bytes of length field and header together, from the first 8 bytes of a file. Errors: truncated,
// limit_exceeded, corrupt_file; the text of another kind of file is recognised (bad_magic).
Result<uint64_t> safetensors_header_bytes(std::span<const uint8_t> first, uint64_t file_bytes,
                                          const std::string& file);

// header: that many first bytes of the file. In the order of the data. Errors: corrupt_file, truncated,
// limit_exceeded; all name the file and the tensor.
Result<std::vector<SafetensorsTensor>> parse_safetensors(std::span<const uint8_t> header, uint64_t file_bytes,
                                                         const std::string& file);

}  // namespace nutshell
