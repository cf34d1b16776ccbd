// A model in one of the plain number formats: what llama.cpp reads, a baseline for the trellis code. L5.
// Streams tensor by tensor; needs no graph, so an architecture that cannot be run can be converted all the
// same.
#pragma once

#include <vector>

#include "base/parallel.h"
#include "compress/io.h"
#include "model/model_header.h"

namespace nutshell::compress {

struct ConvertOptions {
  DType to = DType::q8_0;
  // Every matrix in `to`; otherwise the output matrix (or the embedding that stands in for it) has at least
  // Q6_K, because it is the most sensitive.
  bool pure = false;
};

struct ConvertReport {
  struct Tensor {
    std::string name;
    DType dtype;
    bool fell_back;  // its rows are no whole blocks of the format it was meant for
  };
  uint64_t bytes = 0;
  double bits_per_weight = 0;  // of the whole file
  std::vector<Tensor> tensors;
};

// Which tensors change: those of two or more dimensions whose name ends in "weight", without norms, routers
// of experts, convolutions, position and token type embeddings: llama.cpp's choice. The others keep their
// values (16-bit ones as f32, which llama.cpp wants of them). Rows that are no whole blocks of 256 take Q5_0
// for Q4_K and Q8_0 for Q6_K, rows that are no whole blocks of 32 F16, as in llama.cpp. Tensors in the wanted
// format already keep their bytes; others are decoded, which loses twice what is coded twice. A folder's
// query and key rows get the order GGUF has them in. Memory: the largest tensor as f32 at most, 64 MB else.
// Errors: invalid_argument (no encoder for the format), already_compressed, unsupported_*, corrupt_file
// (values that are not finite), those of read and write.
Result<ConvertReport> convert(ModelHeader header, const ReadBytes& read, const ConvertOptions& options,
                              ThreadPool& pool, const WriteBytes& write, const Progress& progress);

}  // namespace nutshell::compress
