#include "compress/source.h"

#include "engine/loader.h"
#include "engine/tokenizer_data.h"
#include "model/arch/arch.h"
#include "model/model_header.h"
#include "quant/format.h"

namespace nutshell::compress {
namespace {

Status decode_weights(SourceModel& model) {
  for (const WeightSpec& spec : model.graph.weights) {
    const GgufTensor& tensor = *model.file.find_tensor(spec.name);
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

Result<std::vector<uint8_t>> SourceModel::tensor_bytes(const GgufTensor& tensor) const {
  std::vector<uint8_t> bytes(tensor.bytes);
  RETURN_IF_ERROR(read(file.data_offset() + tensor.offset, bytes));
  return bytes;
}

Result<SourceModel> open_source(GgufFile file, ReadBytes read) {
  SourceModel model;
  ModelHeader header = header_of(std::move(file));
  RETURN_IF_ERROR(header.problem);
  model.file = std::move(header.metadata);
  model.read = std::move(read);
  if (model.file.has("nutshell.version"))
    return Status(ErrorCode::invalid_argument, "the file is compressed already; compress its original");
  ASSIGN_OR_RETURN(const std::string architecture, model.file.get_string("general.architecture"));
  ASSIGN_OR_RETURN(const ArchDef* arch, find_architecture(architecture));
  ASSIGN_OR_RETURN(model.hparams, arch->read_hparams(model.file));
  ASSIGN_OR_RETURN(TokenizerData data, read_tokenizer_data(model.file));
  model.special = {data.bos, data.eos, data.eot, data.add_bos};
  ASSIGN_OR_RETURN(model.tokenizer, make_tokenizer(std::move(data)));

  HostTensors host;
  for (const std::string_view name : arch->host_tensors)
    if (const GgufTensor* t = model.file.find_tensor(name); t != nullptr && t->dtype) {
      ASSIGN_OR_RETURN(const std::vector<uint8_t> bytes, model.tensor_bytes(*t));
      std::vector<float>& values = host[t->name];
      values.resize(static_cast<size_t>(t->n_values()));
      decode_row(*t->dtype, bytes.data(), t->n_values(), values.data());
    }
  GraphBuilder builder(header.tensors);
  arch->build(builder, model.hparams, host);
  ASSIGN_OR_RETURN(model.graph, builder.finish());
  RETURN_IF_ERROR(FloatRun::check(model.graph));
  RETURN_IF_ERROR(decode_weights(model));
  return model;
}

}  // namespace nutshell::compress
