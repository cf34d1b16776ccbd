// A model opened for compressing: its graph, and every weight as f32 where that is wanted. L5. The bytes are
// asked for step by step (steps.h).
#pragma once

#include <memory>
#include <vector>

#include "compress/float_run.h"
#include "compress/io.h"
#include "compress/read_tensor.h"
#include "compress/steps.h"
#include "engine/model.h"
#include "model/model_header.h"

namespace nutshell::compress {

struct SourceModel {
  ModelHeader header;
  ReadBytes read;  // where there are files; may be empty
  std::string architecture;
  HParams hparams;
  Graph graph;
  Status measurable;            // unsupported_architecture: the model cannot be run on texts here
  std::vector<Matrix> weights;  // by WeightId; none before read_weights()
  std::unique_ptr<Tokenizer> tokenizer;
  SpecialTokens special;
};

// Fills all of the model but its weights. Errors: as the loader's; already_compressed.
Steps open_source(ModelHeader header, SourceModel& model);
// Fills its weights: 4 bytes for each. Errors: corrupt_file naming a tensor with values that are not finite.
Steps read_weights(SourceModel& model);
// One of them. Memory: that, and some MB.
Steps read_weight(const SourceModel& model, WeightId id, Matrix& weight);
// Some rows of a matrix, in the order given.
Steps read_weight_rows(const SourceModel& model, WeightId id, std::vector<int32_t> rows, Matrix& values);
// A tensor's bytes in its format; plain_bytes() of them.
Steps read_tensor_bytes(const SourceModel& model, const TensorEntry& tensor, std::vector<uint8_t>& bytes);
// Tells this model from others: the index and all bytes of the tensors, which are read once for it.
Steps mark_source(const SourceModel& model, uint64_t& mark);

// Mixes bytes into a mark.
void mix_bytes(uint64_t& mark, const void* bytes, size_t n);

// The same from files, at once.
Result<SourceModel> open_source(ModelHeader header, ReadBytes read);

}  // namespace nutshell::compress
