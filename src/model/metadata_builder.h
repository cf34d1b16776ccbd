// Makes metadata by GGUF's keys that comes from elsewhere (a Hugging Face folder), so that everything behind
// it reads one shape. L4. The caller gives each key once. Numbers get the types they have in GGUF files where
// they fit (u32, i32 in arrays, f32), so that other readers understand a file made of them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf.h"

namespace nutshell {

class MetadataBuilder {
 public:
  void add(std::string_view key, std::string_view text);
  void add(std::string_view key, const char* text) { add(key, std::string_view(text)); }
  void add(std::string_view key, bool value);
  void add(std::string_view key, int64_t value);
  void add(std::string_view key, double value);
  void add(std::string_view key, std::span<const std::string> texts);
  void add(std::string_view key, std::span<const int64_t> values);
  void add(std::string_view key, std::span<const float> values);
  bool has(std::string_view key) const { return file_.has(key); }

  // The metadata, without tensors. limit_exceeded when it is larger than offsets reach.
  Result<GgufFile> finish();

 private:
  GgufFile::Value& entry(std::string_view key, GgufType type);
  template <typename T>
  void put(T value);
  void put_text(std::string_view text);

  GgufFile file_;
};

}  // namespace nutshell
