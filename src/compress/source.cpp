#include "compress/source.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "engine/tokenizer_data.h"
#include "model/arch/arch.h"

namespace nutshell::compress {
namespace {

// The code has one description per tensor of the file.
Status check_whole_matrices(const Graph& graph) {
  std::set<std::string> names;
  for (const WeightSpec& w : graph.weights)
    if ((w.use & kUseVector) == 0 && !names.insert(w.name).second)
      return {ErrorCode::unsupported_architecture,
              "the tensor '" + w.name + "' holds several matrices, which the compressor does not cut up yet"};
  return {};
}

Status decode_weights(SourceModel& model) {
  for (const WeightSpec& spec : model.graph.weights) {
    const TensorEntry& tensor = *model.header.tensors.find(spec.name);
    Matrix w(spec.n_rows, spec.n_cols);
    if (spec.n_cols == tensor.n_cols) {
      RETURN_IF_ERROR(
          read_rows(tensor, model.read, spec.first, spec.n_rows, {w.data(), static_cast<size_t>(w.size())}));
    } else {  // part of a vector
      std::vector<float> values(static_cast<size_t>(tensor.n_cols));
      RETURN_IF_ERROR(read_rows(tensor, model.read, 0, 1, values));
      std::copy_n(values.begin() + spec.first, spec.n_cols, w.data());
    }
    model.weights.push_back(std::move(w));
  }
  return {};
}

}  // namespace

Result<std::vector<uint8_t>> SourceModel::tensor_bytes(const TensorEntry& tensor) const {
  const auto computed = header.computed.find(tensor.name);
  if (computed == header.computed.end()) return read_plain(tensor, read);
  std::vector<uint8_t> bytes(tensor.bytes);
  std::memcpy(bytes.data(), computed->second.data(), bytes.size());
  return bytes;
}

Result<SourceModel> open_source(ModelHeader header, ReadBytes read) {
  SourceModel model;
  model.header = std::move(header);
  const GgufFile& file = model.header.metadata;
  model.read = std::move(read);
  if (file.has("nutshell.version"))
    return Status(ErrorCode::invalid_argument, "the file is compressed already; compress its original");
  for (const TensorEntry& t : model.header.tensors.entries()) RETURN_IF_ERROR(t.check_supported());
  ASSIGN_OR_RETURN(const std::string architecture, file.get_string("general.architecture"));
  ASSIGN_OR_RETURN(const ArchDef* arch, find_architecture(architecture));
  ASSIGN_OR_RETURN(model.hparams, read_hparams(*arch, file));
  ASSIGN_OR_RETURN(TokenizerData data, read_tokenizer_data(file));
  model.special = {data.bos, data.eos, data.eot, data.add_bos};
  ASSIGN_OR_RETURN(model.tokenizer, make_tokenizer(std::move(data)));

  const TensorIndex& tensors = model.header.tensors;
  HostTensors host = model.header.computed;
  for (const std::string_view name : arch->host_tensors)
    if (const TensorEntry* t = tensors.find(std::string(name)); t != nullptr) {
      std::vector<float>& values = host[t->name];
      values.resize(static_cast<size_t>(t->n_rows * t->n_cols));
      RETURN_IF_ERROR(read_rows(*t, model.read, 0, t->n_rows, values));
    }
  GraphBuilder builder(tensors);
  arch->build(builder, model.hparams, host);
  ASSIGN_OR_RETURN(model.graph, builder.finish());
  if (const Status known = FloatRun::check(model.graph); !known.ok())
    return Status(known.code(), "the architecture '" + architecture + "': " + known.message());
  RETURN_IF_ERROR(check_whole_matrices(model.graph));
  RETURN_IF_ERROR(decode_weights(model));
  add_computed(model.header);
  return model;
}

}  // namespace nutshell::compress
