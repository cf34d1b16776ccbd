// A model file opened for compressing: its graph, and every weight as f32. L5.
#pragma once

#include <memory>
#include <vector>

#include "compress/float_run.h"
#include "compress/io.h"
#include "engine/model.h"
#include "model/model_header.h"

namespace nutshell::compress {

struct SourceModel {
  ModelHeader header;
  ReadBytes read;
  HParams hparams;
  Graph graph;
  std::vector<Matrix> weights;  // by WeightId
  std::unique_ptr<Tokenizer> tokenizer;
  SpecialTokens special;

  Result<std::vector<uint8_t>> tensor_bytes(const TensorEntry& tensor) const;
};

// Errors: as the loader's; corrupt_file naming a tensor with values that are not finite; invalid_argument for
// a file that is compressed already; unsupported_architecture. Memory: 4 bytes per weight.
Result<SourceModel> open_source(ModelHeader header, ReadBytes read);

}  // namespace nutshell::compress
