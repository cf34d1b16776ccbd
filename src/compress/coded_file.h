// The compressed file (engine/coded_tensors.h): the source's keys and tensors, the targets in the code. L5.
#pragma once

#include <map>
#include <utility>

#include "compress/gguf_writer.h"
#include "compress/source.h"
#include "compress/targets.h"

namespace nutshell::compress {

// Facts of a kind for `inspect`: keys below nutshell. and their numbers.
struct Provenance {
  std::vector<std::pair<std::string, float>> numbers;
  std::vector<std::pair<std::string, uint32_t>> counts;
};

class CodedFile {
 public:
  // changed: F32 tensors that get other values than the source's. All must outlive the file.
  CodedFile(const SourceModel& source, const std::vector<Target>& targets, uint64_t seed,
            const Provenance& provenance, const std::map<std::string, const Matrix*>& changed);
  // Of the whole file, with the targets' present runs; the codes need not be there yet.
  uint64_t bytes() const;
  // All of it.
  Steps write() const;

 private:
  void describe(uint64_t seed, const Provenance& provenance);
  const Target* target_of(const std::string& name) const;

  const SourceModel& source_;
  const std::vector<Target>& targets_;
  const std::map<std::string, const Matrix*>& changed_;
  GgufWriter writer_;
  std::vector<TensorOut> tensors_;
};

}  // namespace nutshell::compress
