#include "engine/header_reader.h"

#include <algorithm>

#include "engine/memory_plan.h"
#include "model/gguf_split.h"

namespace nutshell {
namespace {

constexpr uint64_t kFirstHeaderBytes = 4u << 20;
constexpr uint64_t kMaxHeaderBytes = 128u << 20;  // Gemma's 262,144 tokens take about 10 MB

class GgufFormat final : public HeaderFormat {
 public:
  // Of several files only those called .gguf: a folder may hold others beside them.
  explicit GgufFormat(std::vector<ModelFile> files) : all_(files.size()) {
    for (size_t i = 0; i < files.size(); ++i)
      if (files.size() == 1 || files[i].name.ends_with(".gguf")) {
        place_.push_back(static_cast<uint32_t>(i));
        files_.push_back(std::move(files[i]));
      }
  }

  Result<std::optional<ReadRequest>> next() override {
    if (files_.empty())
      return Status(ErrorCode::missing_part, all_ == 0 ? "the model has no files"
                                                       : "none of the files is a model: a GGUF file, or "
                                                         "config.json and *.safetensors of a folder");
    const size_t file = parts_.size();
    if (file == files_.size()) return std::optional<ReadRequest>();
    const uint64_t size = files_[file].bytes;
    if (size == 0)
      return Status(ErrorCode::truncated,
                    files_.size() == 1 ? "the file is empty" : quoted(files_[file].name) + " is empty");
    const uint64_t want = std::min(size, read_ == 0 ? kFirstHeaderBytes : read_ * 2);
    prefix_.resize(want);
    return std::optional<ReadRequest>({place_[file], read_, want - read_, prefix_.data() + read_});
  }

  Status commit() override {
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

  Result<ModelHeader> take() override {
    prefix_ = {};
    ASSIGN_OR_RETURN(ModelHeader header, join_parts(std::move(parts_), files_));
    header.tensors.place_files(place_);
    return header;
  }

 private:
  const size_t all_;
  std::vector<ModelFile> files_;
  std::vector<uint32_t> place_;  // of files_ in the caller's list
  std::vector<GgufFile> parts_;  // of the first files
  std::vector<uint8_t> prefix_;  // of file parts_.size()
  uint64_t read_ = 0;            // bytes of it that are in prefix_
};

}  // namespace

bool is_model_file(std::string_view name) {
  for (const std::string_view end : {".gguf", ".safetensors", ".json", ".model", ".jinja", ".txt"})
    if (name.ends_with(end)) return true;
  return false;
}

HeaderReader::HeaderReader(std::vector<ModelFile> files) {
  bool gguf = false, folder = false;
  for (const ModelFile& file : files) {
    gguf |= file.name.ends_with(".gguf");
    folder |= file.name == "config.json" || file.name.ends_with(".safetensors");
  }
  format_ = folder && !gguf ? make_folder_format(std::move(files)) : make_gguf_format(std::move(files));
}

std::unique_ptr<HeaderFormat> make_gguf_format(std::vector<ModelFile> files) {
  return std::make_unique<GgufFormat>(std::move(files));
}

}  // namespace nutshell
