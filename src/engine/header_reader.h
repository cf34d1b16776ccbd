// Reads the headers of a model's files, piece by piece as the caller pushes them in, into one ModelHeader.
// L5. Knows which file is read when; what the bytes mean is the business of model/. Two kinds of models: GGUF
// files (one, or the parts of a split one) and Hugging Face folders (a file config.json or *.safetensors is
// there).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "model/model_header.h"

namespace nutshell {

struct ReadRequest {
  uint32_t file = 0;  // index into the files of the model
  uint64_t offset = 0;
  uint64_t length = 0;
  uint8_t* target = nullptr;  // valid until commit()
};

// Whether a file of that name can belong to a model: what to take of a folder.
bool is_model_file(std::string_view name);

// One kind of model.
class HeaderFormat {
 public:
  virtual ~HeaderFormat() = default;
  virtual Result<std::optional<ReadRequest>> next() = 0;
  virtual Status commit() = 0;
  virtual Result<ModelHeader> take() = 0;
};

class HeaderReader {
 public:
  explicit HeaderReader(std::vector<ModelFile> files);

  // What to read next; nothing when the header is complete.
  Result<std::optional<ReadRequest>> next() { return format_->next(); }
  // The bytes of the last request are in place.
  Status commit() { return format_->commit(); }
  // Precondition: next() answered nothing.
  Result<ModelHeader> take() { return format_->take(); }

 private:
  std::unique_ptr<HeaderFormat> format_;
};

// The kinds; files: those of the model.
std::unique_ptr<HeaderFormat> make_gguf_format(std::vector<ModelFile> files);
std::unique_ptr<HeaderFormat> make_folder_format(std::vector<ModelFile> files);

}  // namespace nutshell
