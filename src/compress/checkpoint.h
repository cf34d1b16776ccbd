// What a run leaves behind while it works, so that a killed one goes on at the matrix it had come to. L5.
#pragma once

#include <string>

#include "compress/pipeline_options.h"
#include "compress/source.h"
#include "compress/targets.h"

namespace nutshell::compress {

// A store of named bytes; where they lie is the caller's business.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  // Nothing, when nothing was saved under the name.
  virtual std::vector<uint8_t> load(const std::string& name) = 0;
  // All or nothing, also when the process is killed meanwhile. io_error.
  virtual Status save(const std::string& name, std::span<const uint8_t> bytes) = 0;
};

// Whether the saved state is of the same source, texts and options; if not, what follows starts anew.
uint64_t fingerprint(const SourceModel& source, const CompressOptions& options,
                     std::span<const int32_t> calibration);

// All that coding needs of the calibration: the statistics without `inputs`, and the targets' runs.
std::vector<uint8_t> freeze(const Statistics& statistics, const std::vector<Target>& targets,
                            double predicted_kl);
// False when the bytes are no such state of these targets; then nothing is changed.
bool thaw(std::span<const uint8_t> bytes, Statistics& statistics, std::vector<Target>& targets,
          double& predicted_kl);

// A target's rows, under its name.
std::vector<uint8_t> freeze(const Target& target);
bool thaw(std::span<const uint8_t> bytes, Target& target);

}  // namespace nutshell::compress
