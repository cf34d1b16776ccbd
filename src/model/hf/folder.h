// A Hugging Face folder as the engine reads models: config.json becomes metadata by GGUF's keys, the tensors
// of its safetensors files an index by GGUF's names. L4. The tokenizer is engine/'s part, reading files the
// caller's.
#pragma once

#include <vector>

#include "model/arch/arch.h"
#include "model/hf/hf_def.h"
#include "model/hf/json.h"
#include "model/hf/safetensors.h"

namespace nutshell {

struct HfTensorFile {
  uint32_t file = 0;  // index into the model's files
  std::string name;
  std::vector<SafetensorsTensor> tensors;
};

// The architecture whose class config.json names. Errors: unsupported_architecture (names it, lists what is
// supported), unsupported_format (weights quantised by a method of Hugging Face), missing_metadata.
Result<const ArchDef*> find_hf_architecture(const HfConfig& config);

// Precondition: arch.hf. Errors: missing_metadata, corrupt_file, unsupported_architecture.
Status translate_config(const ArchDef& arch, const HfConfig& config, HfModel& out);

// The tensors by GGUF's names. Errors: corrupt_file (a tensor in two files, experts that do not fit
// together), unsupported_architecture (a tensor that the architecture does not know: nothing is left out by
// guess).
Result<TensorIndex> translate_tensors(const HfDef& def, bool tied, const std::vector<HfTensorFile>& files);
// The tensors as the folder names them, for looking at what cannot be run.
TensorIndex index_safetensors(const std::vector<HfTensorFile>& files);

}  // namespace nutshell
