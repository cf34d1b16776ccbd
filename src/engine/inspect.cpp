#include "engine/inspect.h"

#include <algorithm>
#include <map>

#include "engine/coded_tensors.h"
#include "engine/loader.h"
#include "engine/tokenizer_data.h"
#include "model/arch/arch.h"

namespace nutshell {
namespace {

using nlohmann::json;

void add_problem(json& problems, const Status& status) {
  const json text = status.message();
  if (!status.ok() && std::find(problems.begin(), problems.end(), text) == problems.end())
    problems.push_back(text);  // once, though architecture and tokenizer may miss the same key
}

json string_or_null(const GgufFile& file, const char* key) {
  const auto text = file.get_string(key);
  return text.ok() ? json(*text) : json();
}

// Tensors, their formats and the sizes.
void describe_tensors(const TensorIndex& index, json& out) {
  uint64_t values = 0, sized_values = 0, bytes = 0;
  json formats = json::object(), tensors = json::array();
  for (const TensorEntry& t : index.entries()) {
    const auto n = static_cast<uint64_t>(t.n_rows * t.n_cols);
    values += n;
    if (t.bytes > 0) {  // the size of a format that is not even known by name is not known either
      sized_values += n;
      bytes += t.bytes;
    }
    json& count = formats[t.format_name];
    count = count.is_null() ? 1 : count.get<uint64_t>() + 1;
    tensors.push_back({{"name", t.name}, {"shape", t.shape}, {"format", t.format_name}, {"bytes", t.bytes}});
  }
  out["parameters"] = values;
  out["bits_per_weight"] =
      sized_values == 0 ? json() : json(8.0 * static_cast<double>(bytes) / static_cast<double>(sized_values));
  out["formats"] = std::move(formats);
  out["tensors"] = std::move(tensors);
}

// Where a compressed file came from and what was measured on it: every scalar of these groups of keys.
void describe_compression(const GgufFile& file, json& out) {
  if (!has_coded_tensors(file)) return;
  json found = json::object();
  for (const GgufFile::Entry& e : file.entries())
    for (const std::string_view group : {"nutshell.source.", "nutshell.calibration.", "nutshell.quality."}) {
      if (!e.key.starts_with(group)) continue;
      json& to = found[e.key.substr(std::string_view("nutshell.").size())];
      if (const auto text = file.get_string(e.key); text.ok())
        to = *text;
      else if (const auto integer = file.get_i64(e.key); integer.ok())
        to = *integer;
      else if (const auto number = file.get_f32(e.key); number.ok())
        to = *number;
    }
  out["compression"] = std::move(found);
}

// One problem per format, not per tensor.
void check_formats(const TensorIndex& index, json& problems) {
  std::map<std::string, std::vector<const TensorEntry*>> unsupported;
  for (const TensorEntry& t : index.entries())
    if (!t.dtype) unsupported[t.format_name].push_back(&t);
  for (const auto& [format, tensors] : unsupported) {
    const size_t more = tensors.size() - 1;
    problems.push_back(tensors[0]->check_supported().message() +
                       (more > 0 ? " (and " + std::to_string(more) + " more tensors)" : ""));
  }
}

// Architecture, its parameters, and every weight it wants: the graph is built, planned and thrown away.
Status check_architecture(const ModelHeader& header, const TensorIndex& tensors, json& memory) {
  RETURN_IF_ERROR(header.problem);
  const GgufFile& file = header.metadata;
  ASSIGN_OR_RETURN(const std::string name, file.get_string("general.architecture"));
  ASSIGN_OR_RETURN(const ArchDef* arch, find_architecture(name));
  if (tensors.entries().empty())
    return {ErrorCode::missing_tensor, "the file has no tensors: it is a vocabulary, not a model"};
  ASSIGN_OR_RETURN(const HParams hparams, read_hparams(*arch, file));
  GraphBuilder builder(tensors);
  arch->build(builder, hparams, header.computed);
  const Result<Graph> graph = builder.finish();
  const Status status = graph.status();
  if (status.ok()) {
    ThreadPool pool(1);
    const Extents extents = choose_extents(hparams, 0, 1);
    ASSIGN_OR_RETURN(const MemoryNeeds needs, make_cpu_backend(pool)->plan(*graph, extents));
    memory = {{"context", extents.n_ctx},
              {"weights_bytes", needs.weights_bytes},
              {"kv_bytes", needs.kv_bytes},
              {"scratch_bytes", needs.scratch_bytes},
              {"total_bytes", needs.total()}};
  }
  return status.code() == ErrorCode::unsupported_format ? Status() : status;  // listed by check_formats
}

Status check_tokenizer(const GgufFile& file) {
  ASSIGN_OR_RETURN(TokenizerData data, read_tokenizer_data(file));
  return make_tokenizer(std::move(data)).status();
}

}  // namespace

json inspect(const ModelHeader& header) {
  const GgufFile& file = header.metadata;
  json out = {{"architecture", string_or_null(file, "general.architecture")}};
  TensorIndex tensors = header.tensors;
  const Status coded = describe_coded_tensors(file, tensors);
  describe_tensors(tensors, out);
  describe_compression(file, out);
  const auto tokens = file.get_strings("tokenizer.ggml.tokens");
  out["tokenizer"] = {{"model", string_or_null(file, "tokenizer.ggml.model")},
                      {"pre", string_or_null(file, "tokenizer.ggml.pre")},
                      {"vocabulary", tokens.ok() ? tokens->size() : 0}};
  json problems = json::array();
  add_problem(problems, coded);
  check_formats(tensors, problems);
  json memory;
  add_problem(problems, check_architecture(header, tensors, memory));
  add_problem(problems, check_tokenizer(file));
  out["memory"] = std::move(memory);
  out["problems"] = std::move(problems);
  return out;
}

}  // namespace nutshell
