// What the files of a model say before their weights are read, in one shape whatever the container: metadata
// by GGUF's keys, and where each tensor lies. A GGUF file gives it directly (gguf.h), the parts of a split
// file together (gguf_split.h). L4.
#pragma once

#include <string>
#include <vector>

#include "model/gguf.h"
#include "model/tensor_index.h"

namespace nutshell {

// A file as the caller has it; its place in the list is what TensorPiece::file and read requests mean.
struct ModelFile {
  std::string name;  // without folders
  uint64_t bytes = 0;
};

struct ModelHeader {
  GgufFile metadata;
  TensorIndex tensors;
  uint64_t header_bytes = 0;  // bytes of the files that are not tensor data
  uint64_t file_bytes = 0;    // of the files that belong to the model
};

// The header of a file that is a model by itself.
ModelHeader header_of(GgufFile file);

}  // namespace nutshell
