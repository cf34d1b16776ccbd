// A model split over several GGUF files (llama.cpp's gguf-split): each part is a whole GGUF file with tensors
// of its own and the keys split.no (from 0), split.count, split.tensors.count; the first one has the
// metadata. L4.
#pragma once

#include <vector>

#include "base/result.h"
#include "model/model_header.h"

namespace nutshell {

// parts: the parsed headers of files, in the same order, which need not be that of the parts. One file that
// says nothing of parts is a model by itself. Errors: missing_part (some are not there), corrupt_file (two
// files are the same part, or are parts of different models), missing_metadata, invalid_argument (several
// whole models).
Result<ModelHeader> join_parts(std::vector<GgufFile> parts, const std::vector<ModelFile>& files);

// "name-00002-of-00003.gguf" as its pieces; nothing when a file is not named like a part.
struct PartName {
  std::string stem;
  uint32_t number = 0, count = 0;  // number from 1
};
std::optional<PartName> parse_part_name(std::string_view file_name);
std::string part_name(const std::string& stem, uint32_t number, uint32_t count);

}  // namespace nutshell
