// Reading JSON files of a Hugging Face folder: hostile text to a value, and typed access that names file and
// key in its errors. L4. Never throws: types are looked at before they are taken.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace nutshell {

// Deeper nesting than any real file has.
inline constexpr int kJsonMaxDepth = 64;

// The text as one JSON object. Errors: corrupt_file (not JSON, not an object, not UTF-8), limit_exceeded
// (nested too deep); with unique_keys also corrupt_file for a key that comes twice in the outermost object
// (elsewhere the last one counts, as in Python). file: its name, for messages.
Result<nlohmann::json> parse_json_object(std::string_view text, const std::string& file,
                                         bool unique_keys = false);

// Values of config.json. A key may be a path: "rope_scaling.factor". null counts as absent. Errors:
// missing_metadata, corrupt_file (another type, or beyond the range).
class HfConfig {
 public:
  HfConfig() = default;
  HfConfig(nlohmann::json root, std::string file) : root_(std::move(root)), file_(std::move(file)) {}

  const nlohmann::json* find(std::string_view path) const;
  bool has(std::string_view path) const { return find(path) != nullptr; }
  Result<int64_t> integer(std::string_view path) const;
  Result<int64_t> integer(std::string_view path, int64_t fallback) const;
  Result<double> number(std::string_view path) const;
  Result<double> number(std::string_view path, double fallback) const;
  Result<bool> boolean(std::string_view path, bool fallback) const;
  Result<std::string> text(std::string_view path, std::string_view fallback) const;
  Result<std::vector<std::string>> texts(std::string_view path) const;  // absent: empty
  Result<std::vector<float>> numbers(std::string_view path) const;
  const std::string& file() const { return file_; }

 private:
  Status missing(std::string_view path) const;
  Status wrong(std::string_view path, std::string_view wanted) const;

  nlohmann::json root_ = nlohmann::json::object();
  std::string file_;
};

}  // namespace nutshell
