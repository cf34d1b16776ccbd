#include "engine/header_reader.h"

#include <algorithm>

#include "engine/memory_plan.h"
#include "model/gguf_split.h"

namespace nutshell {
namespace {

constexpr uint64_t kFirstHeaderBytes = 4u << 20;
constexpr uint64_t kMaxHeaderBytes = 128u << 20;  // Gemma's 262,144 tokens take about 10 MB

}  // namespace

bool is_model_file(std::string_view name) {
  for (const std::string_view end : {".gguf", ".safetensors", ".json", ".model", ".jinja", ".txt"})
    if (name.ends_with(end)) return true;
  return false;
}

Result<std::optional<ReadRequest>> HeaderReader::next() {
  if (files_.empty()) return Status(ErrorCode::invalid_argument, "the model has no files");
  const size_t file = parts_.size();
  if (file == files_.size()) return std::optional<ReadRequest>();
  const uint64_t size = files_[file].bytes;
  if (size == 0)
    return Status(ErrorCode::truncated,
                  files_.size() == 1 ? "the file is empty" : quoted(files_[file].name) + " is empty");
  const uint64_t want = std::min(size, read_ == 0 ? kFirstHeaderBytes : read_ * 2);
  prefix_.resize(want);
  return std::optional<ReadRequest>(
      {static_cast<uint32_t>(file), read_, want - read_, prefix_.data() + read_});
}

Status HeaderReader::commit() {
  const ModelFile& file = files_[parts_.size()];
  read_ = prefix_.size();
  auto parsed = parse_gguf(prefix_, file.bytes);
  if (!parsed.ok()) {
    if (files_.size() == 1) return parsed.status();
    return {parsed.status().code(), quoted(file.name) + ": " + parsed.status().message()};
  }
  if (parsed->has_value()) {
    parts_.push_back(std::move(**parsed));
    prefix_.clear();
    read_ = 0;
    return {};
  }
  if (read_ >= std::min(file.bytes, kMaxHeaderBytes))
    return {ErrorCode::limit_exceeded, "the header is longer than " + format_bytes(kMaxHeaderBytes)};
  return {};
}

Result<ModelHeader> HeaderReader::take() {
  prefix_ = {};
  return join_parts(std::move(parts_), files_);
}

}  // namespace nutshell
