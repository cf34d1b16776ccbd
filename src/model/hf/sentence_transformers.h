// What a folder of sentence-transformers says beside the model: which modules follow it (modules.json), how
// they pool (1_Pooling/config.json), how long a text may be (sentence_bert_config.json). L4.
// Source of the formats: the package sentence-transformers, `SentenceTransformer.save`, versions 0 to 5.
#pragma once

#include <string>

#include "model/hf/hf_def.h"
#include "model/hf/json.h"

namespace nutshell {

// Where the list of modules.json stands in an HfConfig: the file's outermost value is a list.
inline constexpr std::string_view kHfModulesKey = "modules";

struct SentenceFiles {
  HfConfig modules;  // {"modules": the list}; empty when there is no modules.json
  HfConfig pooling;  // config.json of the pooling module
  HfConfig text;     // sentence_bert_config.json
};

// The name of the file with the pooling module's settings; empty without modules.json or pooling.
// Errors: corrupt_file.
Result<std::string> pooling_file(const HfConfig& modules);

// Adds how a text's vector is made. Without modules.json nothing is added: what the architecture does by
// itself holds. embeds: whether the architecture is one of embedding models. Errors: unsupported_architecture
// (a module or a pooling that is not supported, or an architecture that does not embed), missing_part,
// corrupt_file.
Status add_sentence_settings(const SentenceFiles& files, bool embeds, HfModel& out);

}  // namespace nutshell
