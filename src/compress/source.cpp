#include "compress/source.h"

#include "engine/tokenizer_data.h"
#include "model/arch/arch.h"
#include "quant/format.h"

namespace nutshell::compress {
namespace {

Status decode_weights(SourceModel& model) {
  for (const WeightSpec& spec : model.graph.weights) {
    const TensorEntry& tensor = *model.header.tensors.find(spec.name);
    ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, model.tensor_bytes(tensor));
    Matrix w(spec.n_rows, spec.n_cols);
    const auto row = static_cast<size_t>(row_bytes(spec.dtype, spec.n_cols));
    for (int64_t r = 0; r < spec.n_rows; ++r)
      decode_row(spec.dtype, bytes.data() + static_cast<size_t>(r) * row, spec.n_cols, w.row(r).data());
    if (!w.allFinite())
      return {ErrorCode::corrupt_file,
              "the tensor '" + spec.name + "' has values that are not finite numbers"};
    model.weights.push_back(std::move(w));
  }
  return {};
}

}  // namespace

Result<std::vector<uint8_t>> SourceModel::tensor_bytes(const TensorEntry& tensor) const {
  std::vector<uint8_t> bytes(tensor.bytes);
  const uint64_t row = tensor.bytes / static_cast<uint64_t>(tensor.n_rows);
  uint64_t at = 0;
  for (const TensorPiece& piece : tensor.pieces) {
    const uint64_t n = row * static_cast<uint64_t>(piece.n_rows);
    RETURN_IF_ERROR(read(piece.file, piece.offset, std::span(bytes).subspan(at, n)));
    at += n;
  }
  return bytes;
}

Result<SourceModel> open_source(ModelHeader header, ReadBytes read) {
  SourceModel model;
  model.header = std::move(header);
  const GgufFile& file = model.header.metadata;
  model.read = std::move(read);
  if (file.has("nutshell.version"))
    return Status(ErrorCode::invalid_argument, "the file is compressed already; compress its original");
  if (file.has("split.count"))
    return Status(ErrorCode::invalid_argument, "the model is split into parts; join them first");
  for (const TensorEntry& t : model.header.tensors.entries()) RETURN_IF_ERROR(t.check_supported());
  ASSIGN_OR_RETURN(const std::string architecture, file.get_string("general.architecture"));
  ASSIGN_OR_RETURN(const ArchDef* arch, find_architecture(architecture));
  ASSIGN_OR_RETURN(model.hparams, read_hparams(*arch, file));
  ASSIGN_OR_RETURN(TokenizerData data, read_tokenizer_data(file));
  model.special = {data.bos, data.eos, data.eot, data.add_bos};
  ASSIGN_OR_RETURN(model.tokenizer, make_tokenizer(std::move(data)));

  const TensorIndex& tensors = model.header.tensors;
  HostTensors host;
  for (const std::string_view name : arch->host_tensors)
    if (const TensorEntry* t = tensors.find(std::string(name)); t != nullptr) {
      ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, model.tensor_bytes(*t));
      std::vector<float>& values = host[t->name];
      values.resize(static_cast<size_t>(t->n_rows * t->n_cols));
      decode_row(*t->dtype, bytes.data(), t->n_rows * t->n_cols, values.data());
    }
  GraphBuilder builder(tensors);
  arch->build(builder, model.hparams, host);
  ASSIGN_OR_RETURN(model.graph, builder.finish());
  RETURN_IF_ERROR(FloatRun::check(model.graph));
  RETURN_IF_ERROR(decode_weights(model));
  return model;
}

}  // namespace nutshell::compress
