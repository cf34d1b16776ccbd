// What a model holds, whether it could be run and what memory that takes, from its header alone. L5. Does not
// read tensor data and does not judge whether the memory is there (memory_plan.h does).
#pragma once

#include <nlohmann/json.hpp>

#include "model/model_header.h"

namespace nutshell {

// {architecture, parameters, bits_per_weight, formats {name: tensors}, tensors [{name, shape, format,
// bytes}],
//  tokenizer {model, pre, vocabulary}, memory {context, weights_bytes, kv_bytes, scratch_bytes, total_bytes},
//  problems [text]}
// and for our compressed files compression {key: value}: provenance and measured quality (coded_tensors.h).
// memory is what loading takes with the default context and one thread; null where it cannot be told.
// shape is in the file's order: the contiguous extent first. What the file does not say is null.
// problems lists all that keeps the model from being loaded; empty: it would load, memory permitting.
// Strings come from the file and need not be valid UTF-8: dump with error_handler_t::replace.
nlohmann::json inspect(const ModelHeader& header);

}  // namespace nutshell
