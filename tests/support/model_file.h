// Loads a real model file for tests, through the same loader as the product.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "engine/loader.h"

namespace nutshell::test {

// The path in an environment variable; the test fails when it is not set (scripts/test sets it).
inline std::string path_from_environment(const char* variable) {
  const char* path = std::getenv(variable);
  REQUIRE_MESSAGE(path != nullptr, variable, " is not set: run the tests with scripts/test");
  return path;
}

// A model of these files; they are named as in their folder.
inline std::unique_ptr<Model> load_model(const std::vector<std::string>& paths, ThreadPool& pool,
                                         LoadOptions options) {
  std::vector<std::ifstream> files;
  options.files.clear();
  for (const std::string& path : paths) {
    std::ifstream& file = files.emplace_back(path, std::ios::binary | std::ios::ate);
    REQUIRE_MESSAGE(file.good(), "cannot open ", path);
    options.files.push_back({path.substr(path.rfind('/') + 1), static_cast<uint64_t>(file.tellg())});
  }
  options.name = "test";
  Loader loader(pool, options);
  for (;;) {
    auto request = loader.next();
    REQUIRE_MESSAGE(request.ok(), request.status().message());
    if (!request->has_value()) return loader.take();
    std::ifstream& file = files[(*request)->file];
    file.seekg(static_cast<std::streamoff>((*request)->offset));
    file.read(reinterpret_cast<char*>((*request)->target), static_cast<std::streamsize>((*request)->length));
    REQUIRE(file.good());
    const Status status = loader.commit();
    REQUIRE_MESSAGE(status.ok(), status.message());
  }
}

inline std::unique_ptr<Model> load_model(const std::string& path, ThreadPool& pool, LoadOptions options) {
  return load_model(std::vector<std::string>{path}, pool, std::move(options));
}

}  // namespace nutshell::test
