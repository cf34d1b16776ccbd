// The state of a compression under way, as files in a folder beside its output. L6, native only.
#pragma once

#include <string>

#include "compress/checkpoint.h"

namespace nutshell {

class FolderCheckpoint : public compress::Checkpoint {
 public:
  // The folder is made with the first save.
  explicit FolderCheckpoint(std::string folder) : folder_(std::move(folder)) {}
  std::vector<uint8_t> load(const std::string& name) override;
  Status save(const std::string& name, std::span<const uint8_t> bytes) override;
  // Once the output is complete.
  void remove();

 private:
  std::string path_of(const std::string& name) const;
  std::string folder_;
};

}  // namespace nutshell
