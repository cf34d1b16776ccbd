#include "model/metadata_builder.h"

#include <algorithm>

namespace nutshell {

GgufFile::Value& MetadataBuilder::entry(std::string_view key, GgufType type) {
  file_.key_index_.emplace(key, file_.entries_.size());
  GgufFile::Value value{};
  value.type = type;
  value.offset = static_cast<uint32_t>(file_.metadata_.size());
  file_.entries_.push_back({std::string(key), std::move(value)});
  return file_.entries_.back().value;
}

template <typename T>
void MetadataBuilder::put(T value) {
  const size_t at = file_.metadata_.size();
  file_.metadata_.resize(at + sizeof(T));
  std::memcpy(file_.metadata_.data() + at, &value, sizeof(T));
}

void MetadataBuilder::put_text(std::string_view text) {
  file_.metadata_.insert(file_.metadata_.end(), text.begin(), text.end());
}

void MetadataBuilder::add(std::string_view key, std::string_view text) {
  entry(key, GgufType::string).count = text.size();
  put_text(text);
}
void MetadataBuilder::add(std::string_view key, bool value) {
  entry(key, GgufType::boolean);
  put<uint8_t>(value ? 1 : 0);
}
void MetadataBuilder::add(std::string_view key, int64_t value) {
  if (value >= 0 && value <= UINT32_MAX) {
    entry(key, GgufType::u32);
    put(static_cast<uint32_t>(value));
  } else {
    entry(key, GgufType::i64);
    put(value);
  }
}
void MetadataBuilder::add(std::string_view key, double value) {
  entry(key, GgufType::f32);
  put(static_cast<float>(value));
}
void MetadataBuilder::add(std::string_view key, std::span<const std::string> texts) {
  GgufFile::Value& value = entry(key, GgufType::array);
  value.element = GgufType::string;
  value.count = texts.size();
  value.string_offsets.reserve(texts.size());
  for (const std::string& text : texts) {
    value.string_offsets.push_back(static_cast<uint32_t>(file_.metadata_.size()));
    put<uint64_t>(text.size());
    put_text(text);
  }
}
void MetadataBuilder::add(std::string_view key, std::span<const int64_t> values) {
  GgufFile::Value& value = entry(key, GgufType::array);
  const bool small =
      std::all_of(values.begin(), values.end(), [](int64_t v) { return v >= INT32_MIN && v <= INT32_MAX; });
  value.element = small ? GgufType::i32 : GgufType::i64;
  value.count = values.size();
  for (const int64_t v : values) {
    if (small) {
      put(static_cast<int32_t>(v));
    } else {
      put(v);
    }
  }
}
void MetadataBuilder::add(std::string_view key, std::span<const float> values) {
  GgufFile::Value& value = entry(key, GgufType::array);
  value.element = GgufType::f32;
  value.count = values.size();
  for (const float v : values) put(v);
}

Result<GgufFile> MetadataBuilder::finish() {
  constexpr size_t kMaxBytes = size_t{1} << 30;
  if (file_.metadata_.size() > kMaxBytes)
    return Status(ErrorCode::limit_exceeded,
                  "the model's metadata has " + std::to_string(file_.metadata_.size()) + " bytes");
  return std::move(file_);
}

}  // namespace nutshell
