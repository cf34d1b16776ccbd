// Reading golden files: JSON under tests/golden, each with a head that says where it came from.
#pragma once

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "support/golden_dir.h"

namespace nutshell::test {

// Precondition: the file exists (the test fails otherwise).
inline nlohmann::json read_golden(const std::string& path) {
  std::ifstream in(golden_dir() + "/" + path);
  std::stringstream text;
  text << in.rdbuf();
  nlohmann::json json = nlohmann::json::parse(text.str(), nullptr, false);
  REQUIRE_MESSAGE((json.is_object() && json.contains("head")), "golden file is missing or broken: ", path);
  return json;
}

}  // namespace nutshell::test
