// Calls of the engine as the worker makes them.
#pragma once

#include <doctest/doctest.h>

#include <cstring>

#include "engine/engine.h"
#include "support/gguf_writer.h"

namespace nutshell::test {

// Drives the load of a file; the error, or null.
inline nlohmann::json load(Engine& engine, const Bytes& file,
                           nlohmann::json options = nlohmann::json::object(), uint64_t available = 0) {
  options["files"] = {{{"name", "tiny.gguf"}, {"bytes", file.size()}}};
  if (auto begun = engine.load_begin(options, available); !begun.ok())
    return error_json(begun.status())["error"];
  for (;;) {
    auto next = engine.load_next();
    if (!next.ok()) return error_json(next.status())["error"];
    if ((*next)["state"] == "ready") return nullptr;
    const auto offset = (*next)["offset"].get<size_t>(), length = (*next)["length"].get<size_t>();
    REQUIRE(offset + length <= file.size());
    std::memcpy(reinterpret_cast<void*>((*next)["pointer"].get<uintptr_t>()), file.data() + offset, length);
    if (auto done = engine.load_commit(); !done.ok()) return error_json(done.status())["error"];
  }
}

}  // namespace nutshell::test
