// The state of a compression under way, as files in a folder. L6, native only.
#pragma once

#include <string>

#include "compress/io.h"

namespace nutshell {

class FolderCheckpoint : public compress::Checkpoint {
 public:
  // The folder is made with the first save.
  explicit FolderCheckpoint(std::string folder) : folder_(std::move(folder)) {}
  uint64_t size(const std::string& name) override;
  Status load(const std::string& name, std::span<uint8_t> target) override;
  Status save(const std::string& name, std::span<const uint8_t> bytes) override;
  void drop(const std::string& name) override;
  ~FolderCheckpoint() override;
  FolderCheckpoint(const FolderCheckpoint&) = delete;
  FolderCheckpoint& operator=(const FolderCheckpoint&) = delete;
  // Makes the folder and keeps other runs out of it until the end. io_error: one is in it.
  Status lock();
  // Once the output is complete.
  void remove();

 private:
  std::string path_of(const std::string& name) const;
  std::string folder_;
  int lock_ = -1;
};

}  // namespace nutshell
