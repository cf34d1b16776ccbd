// A file that appears under its name only when all of it is on disk. L6, native only. Until then it is
// "<name>.partial", which is removed on every way out but a killed process; the next run takes such a
// left-over over. Two runs with the same output do not disturb each other: the second is refused.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace nutshell {

class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // io_error: the folder is not there or not writable, or another process writes this file.
  Status opened() const { return opened_; }
  // io_error when the disk has no room for so many more bytes: before hours of work, not after them.
  Status check_room(uint64_t bytes) const;
  Status write(std::span<const uint8_t> bytes);
  // Makes all of it durable and gives it its name. After this, nothing.
  Status finish();

 private:
  Status open();
  Status error(const std::string& what) const;
  std::string path_, partial_;
  int fd_ = -1;
  Status opened_;
};

}  // namespace nutshell
