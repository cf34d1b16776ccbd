// What the files of a model say before their weights are read, in one shape whatever the container: metadata
// by GGUF's keys, and where each tensor lies. A GGUF file gives it directly (gguf.h), the parts of a split
// file together (gguf_split.h), a folder through hf/. L4.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "model/gguf.h"
#include "model/tensor_index.h"

namespace nutshell {

// A file as the caller has it; its place in the list is what TensorPiece::file and read requests mean.
struct ModelFile {
  std::string name;  // without folders, but "1_Pooling/config.json" of a module of sentence-transformers
  uint64_t bytes = 0;
};

struct ModelHeader {
  GgufFile metadata;
  TensorIndex tensors;
  std::unordered_map<std::string, std::vector<float>> computed;  // small tensors that are in no file
  Status problem;             // why the model cannot be loaded although it can be looked at; unsupported_*
  uint64_t header_bytes = 0;  // bytes of the files that are not tensor data
  uint64_t file_bytes = 0;    // of the files that belong to the model
};

// The header of a file that is a model by itself.
ModelHeader header_of(GgufFile file);

}  // namespace nutshell
