#include "model/hf/folder.h"

#include <algorithm>
#include <map>
#include <unordered_set>

namespace nutshell {
namespace {

using nlohmann::json;

std::optional<DType> dtype_of(std::string_view name) {
  if (name == "F32") return DType::f32;
  if (name == "F16") return DType::f16;
  if (name == "BF16") return DType::bf16;
  return std::nullopt;
}

// Adds the value of a config key as it is.
Status add_value(const HfConfig& config, const HfKey& key, HfModel& out) {
  const std::string to = out.key(key.to);
  const json* value = config.find(key.from);
  if (value == nullptr) {
    if (!key.required || out.metadata.has(to)) return {};
    return config.integer(key.from).status();  // missing, with its words
  }
  if (out.metadata.has(to)) return {};
  if (value->is_boolean()) {
    out.metadata.add(to, value->get<bool>());
  } else if (value->is_number_integer()) {
    ASSIGN_OR_RETURN(const int64_t number, config.integer(key.from));
    out.metadata.add(to, number);
  } else if (value->is_array()) {
    ASSIGN_OR_RETURN(const std::vector<float> numbers, config.numbers(key.from));
    out.metadata.add(to, std::span<const float>(numbers));
  } else {
    ASSIGN_OR_RETURN(const double number, config.number(key.from));
    out.metadata.add(to, number);
  }
  return {};
}

Status check_activation(const HfDef& def, const HfConfig& config) {
  if (def.activations.empty()) return {};
  for (const char* key : {"hidden_act", "hidden_activation", "activation_function"}) {
    ASSIGN_OR_RETURN(const std::string name, config.text(key, def.activations[0]));
    std::string supported;
    bool known = false;
    for (const std::string_view each : def.activations) {
      known |= name == each;
      supported += (supported.empty() ? "" : ", ") + std::string(each);
    }
    if (!known)
      return {ErrorCode::unsupported_architecture, "the activation " + nutshell::quoted(name) + " of " +
                                                       config.file() +
                                                       " is not supported here; supported: " + supported};
  }
  return {};
}

// Layer and expert of a name, as digits.
struct Captures {
  std::string_view layer, expert;
};

bool match(std::string_view pattern, std::string_view name, Captures& out) {
  while (!pattern.empty()) {
    if (pattern.size() < 3 || pattern[0] != '{') {
      if (name.empty() || name[0] != pattern[0]) return false;
      pattern.remove_prefix(1);
      name.remove_prefix(1);
      continue;
    }
    size_t n = 0;
    while (n < name.size() && n < 6 && name[n] >= '0' && name[n] <= '9') ++n;
    if (n == 0 || (n > 1 && name[0] == '0')) return false;
    (pattern[1] == 'l' ? out.layer : out.expert) = name.substr(0, n);
    pattern.remove_prefix(3);
    name.remove_prefix(n);
  }
  return name.empty();
}

const HfTensor* find_tensor(const HfDef& def, std::string_view name, Captures& captures) {
  for (const HfDef* d = &def; d != nullptr; d = d->base)
    for (const HfTensor& tensor : d->tensors)
      if (match(tensor.from, name, captures)) return &tensor;
  return nullptr;
}

std::string put_layer(std::string_view to, std::string_view layer) {
  std::string out(to);
  if (const size_t at = out.find("{l}"); at != std::string::npos) out.replace(at, 3, layer);
  return out;
}

TensorEntry entry_of(const SafetensorsTensor& t, uint32_t file, std::string name, TensorTransform transform) {
  TensorEntry entry;
  entry.name = std::move(name);
  entry.format_name = t.dtype;
  entry.dtype = dtype_of(t.dtype);
  entry.transform = transform;
  entry.bytes = t.bytes;
  entry.shape.assign(t.shape.rbegin(), t.shape.rend());
  if (entry.shape.empty()) entry.shape = {1};
  if (transform == TensorTransform::transposed) {
    if (entry.shape.size() == 2) {
      std::swap(entry.shape[0], entry.shape[1]);
    } else {
      entry.transform = TensorTransform::none;  // a bias of such a layer
    }
  }
  if (entry.dtype) {
    entry.stored_dtype = *entry.dtype;
    if (entry.transform == TensorTransform::plus_one) entry.dtype = DType::f32;
  }
  entry.n_cols = entry.shape[0];
  for (size_t i = 1; i < entry.shape.size(); ++i) entry.n_rows *= entry.shape[i];
  entry.pieces = {{file, t.offset, entry.n_rows}};
  return entry;
}

// The tensors of a layer's experts, by expert.
using Experts = std::map<std::string, std::map<int, TensorEntry>>;

Status stack_experts(Experts& all, TensorIndex& out) {
  for (auto& [name, experts] : all) {
    TensorEntry stacked = experts.begin()->second;
    stacked.pieces.clear();
    stacked.n_rows = 0;
    stacked.bytes = 0;
    int next = 0;
    for (const auto& [number, expert] : experts) {
      if (number != next++)
        return {ErrorCode::missing_tensor,
                "the folder lacks expert " + std::to_string(next - 1) + " of " + nutshell::quoted(name)};
      if (expert.shape != stacked.shape || expert.format_name != stacked.format_name)
        return {ErrorCode::corrupt_file, "expert " + std::to_string(number) + " of " +
                                             nutshell::quoted(name) +
                                             " has another shape or format than expert 0"};
      stacked.pieces.push_back(expert.pieces[0]);
      stacked.n_rows += expert.n_rows;
      stacked.bytes += expert.bytes;
    }
    stacked.shape.push_back(next);
    out.add(std::move(stacked));
  }
  return {};
}

}  // namespace

Result<const ArchDef*> find_hf_architecture(const HfConfig& config) {
  ASSIGN_OR_RETURN(const std::vector<std::string> classes, config.texts("architectures"));
  if (classes.empty())
    return Status(ErrorCode::missing_metadata, config.file() + " does not name the model's architecture");
  std::string supported;
  for (const ArchDef* arch : all_architectures()) {
    if (arch->hf == nullptr) continue;
    for (const std::string_view name : arch->hf->classes) {
      if (name == classes[0]) {
        if (!config.has("quantization_config")) return arch;
        ASSIGN_OR_RETURN(const std::string method, config.text("quantization_config.quant_method", "?"));
        return Status(ErrorCode::unsupported_format,
                      "the folder's weights are quantised with " + nutshell::quoted(method) +
                          ", which is not supported; supported in a folder: fp32, fp16, bf16");
      }
      supported += (supported.empty() ? "" : ", ") + std::string(name);
    }
  }
  return Status(ErrorCode::unsupported_architecture,
                "the architecture " + nutshell::quoted(classes[0]) +
                    " is not supported as a folder; supported: " + supported);
}

Status translate_config(const ArchDef& arch, const HfConfig& config, HfModel& out) {
  const HfDef& def = *arch.hf;
  out.architecture = arch.name;
  out.metadata.add("general.architecture", arch.name);
  RETURN_IF_ERROR(check_activation(def, config));
  ASSIGN_OR_RETURN(out.tied, config.boolean("tie_word_embeddings", def.tied));
  for (const HfDef* d = &def; d != nullptr; d = d->base) {
    for (const HfKey& key : d->keys) RETURN_IF_ERROR(add_value(config, key, out));
    if (d->translate != nullptr) RETURN_IF_ERROR(d->translate(config, out));
  }
  return {};
}

Result<TensorIndex> translate_tensors(const HfDef& def, bool tied, const std::vector<HfTensorFile>& files) {
  std::string_view prefix;
  for (const HfDef* d = &def; d != nullptr && prefix.empty(); d = d->base) prefix = d->prefix;
  TensorIndex index;
  Experts experts;
  std::unordered_set<std::string> seen;
  for (const HfTensorFile& file : files)
    for (const SafetensorsTensor& t : file.tensors) {
      if (!seen.insert(t.name).second)
        return Status(ErrorCode::corrupt_file, "the tensor " + nutshell::quoted(t.name) +
                                                   " is in two files; " + nutshell::quoted(file.name) +
                                                   " has it again");
      std::string_view name = t.name;
      if (!prefix.empty() && name.starts_with(prefix)) name.remove_prefix(prefix.size());
      Captures captures;
      const HfTensor* known = find_tensor(def, name, captures);
      if (known == nullptr)
        return Status(ErrorCode::unsupported_architecture,
                      "the tensor " + nutshell::quoted(t.name) + " in " + nutshell::quoted(file.name) +
                          " is not one this architecture is known to have; leaving it out would be a guess");
      std::string to = put_layer(known->to, captures.layer);
      if (to.empty() || (tied && to == "output.weight")) continue;
      TensorEntry entry = entry_of(t, file.file, to, known->transform);
      if (!captures.expert.empty()) {
        const int expert = std::stoi(std::string(captures.expert));
        experts[to].emplace(expert, std::move(entry));
      } else if (index.find(to) != nullptr) {
        return Status(ErrorCode::corrupt_file,
                      "the tensor " + nutshell::quoted(t.name) + " is there under two names");
      } else {
        index.add(std::move(entry));
      }
    }
  RETURN_IF_ERROR(stack_experts(experts, index));
  return index;
}

TensorIndex index_safetensors(const std::vector<HfTensorFile>& files) {
  TensorIndex index;
  for (const HfTensorFile& file : files)
    for (const SafetensorsTensor& t : file.tensors)
      index.add(entry_of(t, file.file, t.name, TensorTransform::none));
  return index;
}

}  // namespace nutshell
