// Reads the tokenizer part of a GGUF file that scripts/test names in the environment.
#pragma once

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "engine/tokenizer_data.h"
#include "model/gguf.h"
#include "text/tokenizer.h"

namespace nutshell::testing {

// The path in an environment variable; fails the test with the way out when it is not set.
inline std::string required_path(const char* variable) {
  const char* path = std::getenv(variable);
  const std::string help =
      std::string(variable) +
      " is not set: run scripts/test, or set it to the path scripts/vocab or scripts/model prints";
  REQUIRE_MESSAGE(path != nullptr, help);
  return path ? path : "";
}

// The first bytes of a file, at most `limit`; file_bytes gets the size of all of it.
inline std::vector<uint8_t> read_prefix(const std::string& path, size_t limit, uint64_t& file_bytes) {
  std::vector<uint8_t> bytes;
  std::FILE* file = std::fopen(path.c_str(), "rb");
  REQUIRE_MESSAGE(file != nullptr, path);
  std::fseek(file, 0, SEEK_END);
  file_bytes = static_cast<uint64_t>(std::ftell(file));
  std::fseek(file, 0, SEEK_SET);
  bytes.resize(static_cast<size_t>(file_bytes < limit ? file_bytes : limit));
  const size_t n = std::fread(bytes.data(), 1, bytes.size(), file);
  std::fclose(file);
  REQUIRE(n == bytes.size());
  return bytes;
}

inline TokenizerData read_tokenizer(const std::string& path) {
  uint64_t file_bytes = 0;
  const std::vector<uint8_t> prefix = read_prefix(path, size_t{32} << 20, file_bytes);
  auto parsed = parse_gguf(prefix, file_bytes);
  REQUIRE_MESSAGE(parsed.ok(), parsed.status().message());
  REQUIRE(parsed->has_value());
  auto data = read_tokenizer_data(**parsed);
  REQUIRE_MESSAGE(data.ok(), data.status().message());
  return *data;
}

}  // namespace nutshell::testing
