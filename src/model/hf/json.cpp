#include "model/hf/json.h"

#include <cmath>
#include <unordered_set>

#include "model/gguf.h"

namespace nutshell {

using nlohmann::json;

Result<json> parse_json_object(std::string_view text, const std::string& file, bool unique_keys) {
  std::unordered_set<std::string> keys;
  std::string twice;
  bool too_deep = false;
  const json::parser_callback_t watch = [&](int depth, json::parse_event_t event, json& value) {
    too_deep |= depth > kJsonMaxDepth;
    if (unique_keys && depth == 1 && event == json::parse_event_t::key &&
        !keys.insert(value.get_ref<const std::string&>()).second && twice.empty())
      twice = value.get_ref<const std::string&>();
    return !too_deep;
  };
  json root = json::parse(text.begin(), text.end(), watch, false);
  if (too_deep)
    return Status(ErrorCode::limit_exceeded,
                  nutshell::quoted(file) + " is nested deeper than " + std::to_string(kJsonMaxDepth));
  if (!root.is_object())
    return Status(
        ErrorCode::corrupt_file,
        nutshell::quoted(file) + (root.is_discarded() ? " is not JSON text" : " is not a JSON object"));
  if (!twice.empty())
    return Status(ErrorCode::corrupt_file,
                  nutshell::quoted(file) + " has the key " + nutshell::quoted(twice) + " twice");
  return root;
}

const json* HfConfig::find(std::string_view path) const {
  const json* value = &root_;
  while (!path.empty()) {
    const size_t dot = path.find('.');
    if (!value->is_object()) return nullptr;
    const auto it = value->find(std::string(path.substr(0, dot)));
    if (it == value->end()) return nullptr;
    value = &*it;
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
  }
  return value->is_null() ? nullptr : value;
}

Status HfConfig::missing(std::string_view path) const {
  return {ErrorCode::missing_metadata, file_ + " lacks the key " + nutshell::quoted(path)};
}
Status HfConfig::wrong(std::string_view path, std::string_view wanted) const {
  std::string shown = find(path)->dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 40);
  return {ErrorCode::corrupt_file, "the key " + nutshell::quoted(path) + " of " + file_ + " is " + shown +
                                       ", not " + std::string(wanted)};
}

Result<int64_t> HfConfig::integer(std::string_view path) const {
  const json* value = find(path);
  if (value == nullptr) return missing(path);
  if (value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    return wrong(path, "a 64-bit integer");
  if (value->is_number_integer()) return value->get<int64_t>();
  // Some files write 4096.0.
  if (value->is_number_float())
    if (const double v = value->get<double>(); v == std::floor(v) && std::fabs(v) < 9e15)
      return static_cast<int64_t>(v);
  return wrong(path, "an integer");
}
Result<int64_t> HfConfig::integer(std::string_view path, int64_t fallback) const {
  return has(path) ? integer(path) : Result<int64_t>(fallback);
}

Result<double> HfConfig::number(std::string_view path) const {
  const json* value = find(path);
  if (value == nullptr) return missing(path);
  if (!value->is_number() || !std::isfinite(value->get<double>())) return wrong(path, "a number");
  return value->get<double>();
}
Result<double> HfConfig::number(std::string_view path, double fallback) const {
  return has(path) ? number(path) : Result<double>(fallback);
}

Result<bool> HfConfig::boolean(std::string_view path, bool fallback) const {
  const json* value = find(path);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return wrong(path, "true or false");
  return value->get<bool>();
}

Result<std::string> HfConfig::text(std::string_view path, std::string_view fallback) const {
  const json* value = find(path);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) return wrong(path, "a text");
  return value->get<std::string>();
}

Result<std::vector<std::string>> HfConfig::texts(std::string_view path) const {
  std::vector<std::string> out;
  const json* value = find(path);
  if (value == nullptr) return out;
  if (!value->is_array()) return wrong(path, "a list of texts");
  for (const json& item : *value) {
    if (!item.is_string()) return wrong(path, "a list of texts");
    out.push_back(item.get<std::string>());
  }
  return out;
}

Result<std::vector<float>> HfConfig::numbers(std::string_view path) const {
  const json* value = find(path);
  if (value == nullptr) return missing(path);
  std::vector<float> out;
  if (!value->is_array()) return wrong(path, "a list of numbers");
  for (const json& item : *value) {
    if (!item.is_number() || !(std::fabs(item.get<double>()) <= 3.4e38))
      return wrong(path, "a list of numbers");
    out.push_back(static_cast<float>(item.get<double>()));
  }
  return out;
}

}  // namespace nutshell
