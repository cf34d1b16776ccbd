#include "model/hf/sentence_transformers.h"

#include "model/hparams.h"

namespace nutshell {
namespace {

using nlohmann::json;

constexpr int64_t kMean = 1, kFirst = 2;  // GGUF's pooling_type

struct Module {
  std::string type;  // the class without its package: "Pooling"
  std::string path;
};

Result<std::vector<Module>> modules_of(const HfConfig& config) {
  std::vector<Module> out;
  const json* list = config.find(kHfModulesKey);
  if (list == nullptr) return out;
  const Status corrupt(ErrorCode::corrupt_file,
                       config.file() + " is not a list of modules with type and path");
  if (!list->is_array()) return corrupt;
  for (const json& item : *list) {
    const auto type = item.is_object() ? item.find("type") : item.end();
    const auto path = item.is_object() ? item.find("path") : item.end();
    if (!item.is_object() || type == item.end() || !type->is_string() || path == item.end() ||
        !path->is_string())
      return corrupt;
    const std::string name = type->get<std::string>();
    out.push_back({name.substr(name.rfind('.') + 1), path->get<std::string>()});
  }
  return out;
}

// The kinds of pooling that a config switches on: flags, or in newer versions one name.
Result<std::vector<std::string>> poolings_of(const HfConfig& config) {
  static constexpr std::pair<const char*, const char*> kFlags[] = {
      {"pooling_mode_cls_token", "cls"},
      {"pooling_mode_mean_tokens", "mean"},
      {"pooling_mode_max_tokens", "max"},
      {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
      {"pooling_mode_weightedmean_tokens", "weightedmean"},
      {"pooling_mode_lasttoken", "lasttoken"}};
  std::vector<std::string> out;
  for (const auto& [flag, name] : kFlags) {
    ASSIGN_OR_RETURN(const bool on, config.boolean(flag, false));
    if (on) out.emplace_back(name);
  }
  if (!out.empty()) return out;
  ASSIGN_OR_RETURN(const std::string name, config.text("pooling_mode", "mean"));
  return std::vector<std::string>{name};
}

Status add_pooling(const HfConfig& config, HfModel& out) {
  ASSIGN_OR_RETURN(const std::vector<std::string> poolings, poolings_of(config));
  if (poolings.size() != 1 || (poolings[0] != "mean" && poolings[0] != "cls")) {
    std::string names;
    for (const std::string& name : poolings) names += (names.empty() ? "" : " and ") + name;
    return {ErrorCode::unsupported_architecture, config.file() + ": the pooling " + nutshell::quoted(names) +
                                                     " is not supported; supported: mean, cls"};
  }
  out.metadata.add(out.key("pooling_type"), poolings[0] == "mean" ? kMean : kFirst);
  return {};
}

}  // namespace

Result<std::string> pooling_file(const HfConfig& config) {
  ASSIGN_OR_RETURN(const std::vector<Module> modules, modules_of(config));
  for (const Module& module : modules)
    if (module.type == "Pooling") return module.path + "/config.json";
  return std::string();
}

Status add_sentence_settings(const SentenceFiles& files, bool embeds, HfModel& out) {
  ASSIGN_OR_RETURN(const std::vector<Module> modules, modules_of(files.modules));
  if (modules.empty()) return {};
  if (!embeds)
    return {ErrorCode::unsupported_architecture, "the folder is an embedding model of the architecture " +
                                                     nutshell::quoted(out.architecture) +
                                                     "; supported for embeddings: bert"};
  bool pools = false, normalizes = false;
  for (const Module& module : modules) {
    pools |= module.type == "Pooling";
    normalizes |= module.type == "Normalize";
    if (module.type != "Transformer" && module.type != "Pooling" && module.type != "Normalize")
      return {ErrorCode::unsupported_architecture,
              "the module " + nutshell::quoted(module.type) + " of " + files.modules.file() +
                  " is not supported; supported: Transformer, Pooling, Normalize"};
  }
  if (!pools)
    return {ErrorCode::unsupported_architecture,
            files.modules.file() +
                " has no Pooling: a vector per token instead of one per text is not supported"};
  RETURN_IF_ERROR(add_pooling(files.pooling, out));
  out.metadata.add(kNormalizeKey, normalizes);
  if (files.text.has("max_seq_length")) {
    ASSIGN_OR_RETURN(const int64_t most, files.text.integer("max_seq_length"));
    if (most < 1)
      return {ErrorCode::corrupt_file, files.text.file() + ": max_seq_length is " + std::to_string(most)};
    out.metadata.add(kMaxTextTokensKey, most);
  }
  // What the tokenizer of an uncased model does anyway.
  ASSIGN_OR_RETURN(const bool lower, files.text.boolean("do_lower_case", false));
  if (lower && out.metadata.has("tokenizer.ggml.normalizer.lowercase"))
    return {
        ErrorCode::unsupported_architecture,
        files.text.file() + " wants lower case for a tokenizer that keeps capitals, which is not supported"};
  return {};
}

}  // namespace nutshell
