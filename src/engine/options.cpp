#include "engine/options.h"

#include <cmath>
#include <limits>
#include <type_traits>

namespace nutshell {
namespace {

using nlohmann::json;

Status wrong(const std::string& name, const char* expected) {
  return {ErrorCode::invalid_argument, "option '" + name + "' must be " + expected};
}

// Numbers of JavaScript: an integer may arrive as 3 or 3.0; beyond 2^53 nothing is exact.
template <typename T>
Status read(const json& value, const std::string& name, T& out) {
  if constexpr (std::is_same_v<T, bool>) {
    if (!value.is_boolean()) return wrong(name, "true or false");
    out = value.get<bool>();
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!value.is_number()) return wrong(name, "a number");
    out = value.get<T>();
    if (!std::isfinite(out)) return wrong(name, "a finite number");
  } else {
    if (!value.is_number()) return wrong(name, "an integer");
    const double number = value.get<double>();
    const double low = std::is_signed_v<T> ? static_cast<double>(std::numeric_limits<T>::min()) : 0.0;
    const double high = std::min(static_cast<double>(std::numeric_limits<T>::max()), 0x1p53);
    if (number != std::floor(number) || number < low || number > high)
      return wrong(name, "an integer in range");
    out = static_cast<T>(number);
  }
  return {};
}

Status read_ids(const json& value, std::vector<int32_t>& out) {
  if (!value.is_array()) return wrong("ids", "a list of token ids");
  out.reserve(value.size());
  for (const json& item : value) {
    int32_t id = 0;
    RETURN_IF_ERROR(read(item, "ids", id));
    out.push_back(id);
  }
  return {};
}

Status read_stop(const json& value, std::vector<std::string>& out) {
  if (value.is_string()) {
    out.push_back(value.get<std::string>());
    return {};
  }
  if (!value.is_array()) return wrong("stop", "a text or a list of texts");
  for (const json& item : value) {
    if (!item.is_string()) return wrong("stop", "a text or a list of texts");
    out.push_back(item.get<std::string>());
  }
  return {};
}

Status read_files(const json& value, std::vector<ModelFile>& out) {
  constexpr size_t kMaxFiles = 4096;
  if (!value.is_array() || value.size() > kMaxFiles) return wrong("files", "a list of {name, bytes}");
  for (const json& item : value) {
    const auto name = item.find("name"), bytes = item.find("bytes");
    if (!item.is_object() || name == item.end() || bytes == item.end() || !name->is_string())
      return wrong("files", "a list of {name, bytes}");
    ModelFile file{name->get<std::string>(), 0};
    RETURN_IF_ERROR(read(*bytes, "files", file.bytes));
    out.push_back(std::move(file));
  }
  return {};
}

Status read_bias(const json& value, std::vector<std::pair<int32_t, double>>& out) {
  if (!value.is_object()) return wrong("logitBias", "an object from token id to number");
  for (const auto& [key, bias] : value.items()) {
    int32_t id = 0;
    const json number = json::parse(key, nullptr, false);
    if (number.is_discarded()) return wrong("logitBias", "an object from token id to number");
    RETURN_IF_ERROR(read(number, "logitBias", id));
    if (bias.is_null()) {  // JSON has no -Infinity: null bans the token
      out.emplace_back(id, -std::numeric_limits<double>::infinity());
      continue;
    }
    double amount = 0;
    RETURN_IF_ERROR(read(bias, "logitBias", amount));
    out.emplace_back(id, amount);
  }
  return {};
}

}  // namespace

Result<GenerateOptions> parse_generate_options(const json& options) {
  if (!options.is_object()) return Status(ErrorCode::invalid_argument, "options must be an object");
  GenerateOptions out;
  for (const auto& [name, value] : options.items()) {
    if (value.is_null()) continue;
    if (name == "ids") {
      RETURN_IF_ERROR(read_ids(value, out.prompt));
    } else if (name == "stop") {
      RETURN_IF_ERROR(read_stop(value, out.stop));
    } else if (name == "logitBias") {
      RETURN_IF_ERROR(read_bias(value, out.sampler.logit_bias));
#define OPTION(member, option_name, kind, sentence) \
  }                                                 \
  else if (name == option_name) {                   \
    RETURN_IF_ERROR(read(value, name, out.member));
#include "engine/options.def"
#undef OPTION
    } else {
      return Status(ErrorCode::invalid_argument, "unknown option '" + name.substr(0, 64) + "'");
    }
  }
  return out;
}

Result<LoadOptions> parse_load_options(const json& options) {
  if (!options.is_object()) return Status(ErrorCode::invalid_argument, "options must be an object");
  LoadOptions out;
  for (const auto& [name, value] : options.items()) {
    if (value.is_null()) continue;
    if (name == "files") {
      RETURN_IF_ERROR(read_files(value, out.files));
    } else if (name == "contextSize") {
      RETURN_IF_ERROR(read(value, name, out.context_size));
    } else if (name == "memoryLimit") {
      RETURN_IF_ERROR(read(value, name, out.memory_limit));
    } else if (name == "name") {
      if (!value.is_string()) return wrong(name, "a text");
      out.name = value.get<std::string>();
    } else {
      return Status(ErrorCode::invalid_argument, "unknown option '" + name.substr(0, 64) + "'");
    }
  }
  return out;
}

}  // namespace nutshell
