#include "compress/source.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/rng.h"
#include "engine/tokenizer_data.h"
#include "model/arch/arch.h"

namespace nutshell::compress {
namespace {

constexpr uint64_t kChunkBytes = 8u << 20;  // tensors are read in parts of about so much

// Whether FloatRun can run the model, and statistics are of whole tensors.
Status check_measurable(const std::string& architecture, const Graph& graph) {
  const auto refusal = [&](const std::string& why) {
    return Status(ErrorCode::unsupported_architecture, "the architecture '" + architecture + "': " + why);
  };
  if (const Status known = FloatRun::check(graph); !known.ok()) return refusal(known.message());
  std::set<std::string> names;
  for (const WeightSpec& w : graph.weights)
    if ((w.use & kUseVector) == 0 && !names.insert(w.name).second)
      return refusal("the tensor '" + w.name + "' holds several matrices, which are not measured yet");
  return {};
}

Steps read_ranges(std::vector<ByteRange> ranges, std::vector<uint8_t>& bytes) {
  uint64_t total = 0, at = 0;
  for (const ByteRange& range : ranges) total += range.length;
  bytes.resize(total);
  for (const ByteRange& range : ranges) {
    co_yield read_into(range.file, range.offset, std::span(bytes).subspan(at, range.length));
    at += range.length;
  }
  co_return Status();
}

// Rows [first, first + n) of a tensor.
Steps read_rows(const TensorEntry& tensor, int64_t first, int64_t n, std::span<float> out) {
  const bool whole = tensor.transform == TensorTransform::transposed;
  const uint64_t row = std::max<uint64_t>(1, tensor.bytes / static_cast<uint64_t>(tensor.n_rows));
  const int64_t chunk = whole ? n : std::max<int64_t>(1, static_cast<int64_t>(kChunkBytes / row));
  std::vector<uint8_t> stored;
  for (int64_t at = 0; at < n; at += chunk) {
    const int64_t rows = std::min(chunk, n - at);
    RUN_STEPS(read_ranges(ranges_of(tensor, first + at, rows), stored));
    CO_RETURN_IF_ERROR(
        decode_rows(tensor, stored, first + at, rows, out.subspan(static_cast<size_t>(at * tensor.n_cols))));
  }
  co_return Status();
}

// What can be told from the header alone.
Status describe(SourceModel& model) {
  const GgufFile& file = model.header.metadata;
  RETURN_IF_ERROR(model.header.problem);
  if (file.has("nutshell.version")) return {ErrorCode::already_compressed, {}};
  for (const TensorEntry& t : model.header.tensors.entries()) RETURN_IF_ERROR(t.check_supported());
  ASSIGN_OR_RETURN(model.architecture, file.get_string("general.architecture"));
  ASSIGN_OR_RETURN(const ArchDef* arch, find_architecture(model.architecture));
  ASSIGN_OR_RETURN(model.hparams, read_hparams(*arch, file));
  ASSIGN_OR_RETURN(TokenizerData data, read_tokenizer_data(file));
  model.special = {data.bos, data.eos, data.eot, data.add_bos};
  ASSIGN_OR_RETURN(model.tokenizer, make_tokenizer(std::move(data)));
  return {};
}

Status build_graph(SourceModel& model, const ArchDef& arch, const HostTensors& host) {
  GraphBuilder builder(model.header.tensors);
  arch.build(builder, model.hparams, host);
  ASSIGN_OR_RETURN(model.graph, builder.finish());
  model.measurable = check_measurable(model.architecture, model.graph);
  add_computed(model.header);
  return {};
}

}  // namespace

Steps open_source(ModelHeader header, SourceModel& model) {
  model.header = std::move(header);
  CO_RETURN_IF_ERROR(describe(model));
  const ArchDef* arch = *find_architecture(model.architecture);
  HostTensors host = model.header.computed;
  for (const std::string_view name : arch->host_tensors)
    if (const TensorEntry* t = model.header.tensors.find(std::string(name)); t != nullptr) {
      std::vector<float>& values = host[t->name];
      values.resize(static_cast<size_t>(t->n_rows * t->n_cols));
      RUN_STEPS(read_rows(*t, 0, t->n_rows, values));
    }
  co_return build_graph(model, *arch, host);
}

Steps read_weight(const SourceModel& model, WeightId id, Matrix& weight) {
  const WeightSpec& spec = model.graph.weights[static_cast<size_t>(id)];
  const TensorEntry& tensor = *model.header.tensors.find(spec.name);
  weight.resize(spec.n_rows, spec.n_cols);
  if (spec.n_cols == tensor.n_cols) {
    RUN_STEPS(
        read_rows(tensor, spec.first, spec.n_rows, {weight.data(), static_cast<size_t>(weight.size())}));
  } else {  // part of a vector
    std::vector<float> values(static_cast<size_t>(tensor.n_cols));
    RUN_STEPS(read_rows(tensor, 0, 1, values));
    std::copy_n(values.begin() + spec.first, spec.n_cols, weight.data());
  }
  co_return Status();
}

Steps read_weights(SourceModel& model) {
  const auto n = static_cast<int64_t>(model.graph.weights.size());
  std::vector<Matrix> weights(model.graph.weights.size());
  for (int64_t i = 0; i < n; ++i) {
    RUN_STEPS(read_weight(model, static_cast<WeightId>(i), weights[static_cast<size_t>(i)]));
    co_yield worked(Stage::reading, i + 1, n);
  }
  model.weights = std::move(weights);
  co_return Status();
}

Steps read_weight_rows(const SourceModel& model, WeightId id, std::vector<int32_t> rows, Matrix& values) {
  const WeightSpec& spec = model.graph.weights[static_cast<size_t>(id)];
  const TensorEntry& tensor = *model.header.tensors.find(spec.name);
  values.resize(static_cast<int64_t>(rows.size()), spec.n_cols);
  for (size_t at = 0; at < rows.size();) {  // rows that lie together, together
    size_t n = 1;
    while (at + n < rows.size() && rows[at + n] == rows[at] + static_cast<int32_t>(n)) ++n;
    const auto row = static_cast<int64_t>(at);
    RUN_STEPS(read_rows(tensor, spec.first + rows[at], static_cast<int64_t>(n),
                        {values.row(row).data(), n * static_cast<size_t>(spec.n_cols)}));
    at += n;
  }
  co_return Status();
}

Steps read_tensor_bytes(const SourceModel& model, const TensorEntry& tensor, std::vector<uint8_t>& bytes) {
  if (const auto it = model.header.computed.find(tensor.name); it != model.header.computed.end()) {
    bytes.resize(tensor.bytes);
    std::memcpy(bytes.data(), it->second.data(), bytes.size());
  } else if (tensor.transform == TensorTransform::none) {
    RUN_STEPS(read_ranges(ranges_of(tensor), bytes));
  } else {
    std::vector<float> values(static_cast<size_t>(tensor.n_rows * tensor.n_cols));
    RUN_STEPS(read_rows(tensor, 0, tensor.n_rows, values));
    bytes = encode_plain(tensor, values);
  }
  co_return Status();
}

void mix_bytes(uint64_t& mark, const void* bytes, size_t n) {
  const auto mix = [&](uint64_t v) { mark = counter_rng(mark ^ v, 0); };
  const auto* from = static_cast<const uint8_t*>(bytes);
  uint64_t v = 0;
  for (; n >= 8; n -= 8, from += 8) {
    std::memcpy(&v, from, 8);
    mix(v);
  }
  v = n;
  std::memcpy(&v, from, n);
  mix(v);
}

Steps mark_source(const SourceModel& model, uint64_t& mark) {
  constexpr uint64_t kAtOnce = 4 << 20;
  std::vector<uint8_t> bytes;
  mix_bytes(mark, &model.header.file_bytes, sizeof model.header.file_bytes);
  for (const RopeSpec& rope : model.graph.ropes)
    mix_bytes(mark, rope.inv_freq.data(), rope.inv_freq.size() * sizeof(double));
  for (const TensorEntry& t : model.header.tensors.entries()) {
    mix_bytes(mark, t.name.data(), t.name.size());
    mix_bytes(mark, &t.n_rows, sizeof t.n_rows);
    mix_bytes(mark, &t.n_cols, sizeof t.n_cols);
    mix_bytes(mark, &*t.dtype, sizeof *t.dtype);
    if (const auto it = model.header.computed.find(t.name); it != model.header.computed.end()) {
      mix_bytes(mark, it->second.data(), it->second.size() * sizeof(float));
      continue;
    }
    for (const TensorPiece& piece : t.pieces) mix_bytes(mark, &piece.offset, sizeof piece.offset);
    for (const ByteRange& range : ranges_of(t))
      for (uint64_t at = 0; at < range.length; at += kAtOnce) {
        const ByteRange part{range.file, range.offset + at, std::min(kAtOnce, range.length - at)};
        RUN_STEPS(read_ranges({part}, bytes));
        mix_bytes(mark, bytes.data(), bytes.size());
      }
  }
  co_return Status();
}

Result<SourceModel> open_source(ModelHeader header, ReadBytes read) {
  SourceModel model;
  model.read = std::move(read);
  RETURN_IF_ERROR(run_to_end(open_source(std::move(header), model), {model.read, {}, {}, nullptr}));
  return model;
}

}  // namespace nutshell::compress
