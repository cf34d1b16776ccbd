// How the compressor reads, writes and tells how far it is where there are files: natively. L5.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/result.h"
#include "compress/steps.h"

namespace nutshell::compress {

// Copies bytes [offset, offset + target.size()) of one of the model's files to target.
using ReadBytes = std::function<Status(uint32_t file, uint64_t offset, std::span<uint8_t> target)>;
// Appends to the file that is made.
using WriteBytes = std::function<Status(std::span<const uint8_t>)>;
// Stage and share done of it.
using Progress = std::function<void(const std::string& stage, double done)>;

// A store of named bytes, so that a killed run goes on where it was; where they lie is the caller's business.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  // 0, when nothing was saved under the name.
  virtual uint64_t size(const std::string& name) = 0;
  // io_error, when there are not that many bytes.
  virtual Status load(const std::string& name, std::span<uint8_t> target) = 0;
  // All or nothing, also when the process is killed meanwhile. io_error.
  virtual Status save(const std::string& name, std::span<const uint8_t> bytes) = 0;
  // What cannot be deleted stays: it does no harm.
  virtual void drop(const std::string& name) = 0;
};

// What steps may ask for; a part that is not there is not asked for (read, write) or done without.
struct Io {
  ReadBytes read;
  WriteBytes write;
  Progress progress;
  Checkpoint* checkpoint = nullptr;
};

// All steps, one after the other. Errors: theirs, and those of io.
Status run_to_end(Steps steps, const Io& io);

}  // namespace nutshell::compress
