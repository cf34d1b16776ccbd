// Bytes a model and a context need, checked before anything is allocated. L5.
#pragma once

#include <cstdint>

#include "backend/backend.h"

namespace nutshell {

// What the back end needs, when that fits into available bytes (0: unknown, fits). The refusal
// (out_of_memory) says what is needed, what is available and which context size would fit. extra_bytes: held
// beside the back end (tokenizer, staging).
Result<MemoryNeeds> check_memory(const Backend& backend, const Graph& graph, const Extents& extents,
                                 uint64_t extra_bytes, uint64_t available_bytes);

// "1.23 GB", "98.4 MB": decimal units, for messages.
std::string format_bytes(uint64_t bytes);

}  // namespace nutshell
