// Reads the headers of a model's files, piece by piece as the caller pushes them in, into one ModelHeader.
// L5. Knows which file is read when; what the bytes mean is the business of model/.
#pragma once

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

class HeaderReader {
 public:
  explicit HeaderReader(std::vector<ModelFile> files) : files_(std::move(files)) {}

  // What to read next; nothing when the header is complete.
  Result<std::optional<ReadRequest>> next();
  // The bytes of the last request are in place.
  Status commit();
  // Precondition: next() answered nothing.
  Result<ModelHeader> take();

 private:
  std::vector<ModelFile> files_;
  std::vector<GgufFile> parts_;  // of the first files
  std::vector<uint8_t> prefix_;  // of file parts_.size()
  uint64_t read_ = 0;            // bytes of it that are in prefix_
};

}  // namespace nutshell
