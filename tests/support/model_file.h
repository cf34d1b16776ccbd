// Loads a real model file for tests, through the same loader as the product.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "engine/loader.h"

namespace nutshell::test {

// The path in an environment variable; the test fails when it is not set (scripts/test sets it).
inline std::string path_from_environment(const char* variable) {
  const char* path = std::getenv(variable);
  REQUIRE_MESSAGE(path != nullptr, variable, " is not set: run the tests with scripts/test");
  return path;
}

inline std::unique_ptr<Model> load_model(const std::string& path, ThreadPool& pool, LoadOptions options) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  REQUIRE_MESSAGE(file.good(), "cannot open ", path);
  options.files = {{"test.gguf", static_cast<uint64_t>(file.tellg())}};
  options.name = "test";
  Loader loader(pool, options);
  for (;;) {
    auto request = loader.next();
    REQUIRE_MESSAGE(request.ok(), request.status().message());
    if (!request->has_value()) return loader.take();
    file.seekg(static_cast<std::streamoff>((*request)->offset));
    file.read(reinterpret_cast<char*>((*request)->target), static_cast<std::streamsize>((*request)->length));
    REQUIRE(file.good());
    const Status status = loader.commit();
    REQUIRE_MESSAGE(status.ok(), status.message());
  }
}

}  // namespace nutshell::test
