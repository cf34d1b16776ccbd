// The GGUF reader against files written by the `gguf` Python package: every metadata type, arrays, tensors,
// alignments, versions (tests/golden/gguf/files.json, made by scripts/golden/make_gguf.py).
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "base/rng.h"
#include "model/gguf.h"
#include "support/golden.h"

namespace nutshell {
namespace {

using nlohmann::json;

std::vector<uint8_t> from_hex(const std::string& hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::vector<uint8_t> out(hex.size() / 2);
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<uint8_t>(digit(hex[2 * i]) * 16 + digit(hex[2 * i + 1]));
  return out;
}

// Whether the getters' widest integer holds a number of the golden.
bool fits_i64(const json& number) {
  return !number.is_number_unsigned() ||
         number.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
}

void check_scalar(const GgufFile& file, const std::string& key, const std::string& type, const json& value) {
  if (type == "string") {
    CHECK(file.get_string(key).value() == value.get<std::string>());
  } else if (type == "bool") {
    CHECK(file.get_bool(key).value() == value.get<bool>());
  } else if (type[0] == 'f') {
    const auto got = file.get_f32(key);
    const double want = value.get<double>();
    REQUIRE(got.ok() == (std::fabs(want) <= std::numeric_limits<float>::max()));
    if (got.ok()) CHECK(*got == static_cast<float>(want));
  } else {
    const auto got = file.get_i64(key);
    REQUIRE(got.ok() == fits_i64(value));
    if (got.ok()) CHECK(*got == value.get<int64_t>());
  }
}

void check_array(const GgufFile& file, const std::string& key, const std::string& element,
                 const json& value) {
  CHECK(file.is_array(key));
  CHECK(file.find(key)->count == value.size());
  if (element == "string") {
    const auto got = file.get_strings(key);
    REQUIRE(got.ok());
    REQUIRE(got->size() == value.size());
    for (size_t i = 0; i < value.size(); ++i) CHECK((*got)[i] == value[i].get<std::string>());
  } else if (element[0] == 'f') {
    const auto got = file.get_f32s(key);
    bool fits = true;
    for (const json& v : value)
      fits = fits && std::fabs(v.get<double>()) <= std::numeric_limits<float>::max();
    REQUIRE(got.ok() == fits);
    for (size_t i = 0; fits && i < value.size(); ++i)
      CHECK((*got)[i] == static_cast<float>(value[i].get<double>()));
  } else {
    const auto got = file.get_i64s(key);
    bool fits = true;
    for (const json& v : value) fits = fits && fits_i64(v);
    REQUIRE(got.ok() == fits);
    for (size_t i = 0; fits && i < value.size(); ++i)
      CHECK((*got)[i] == (value[i].is_boolean() ? value[i].get<bool>() : value[i].get<int64_t>()));
  }
}

void check_keys(const GgufFile& file, const json& keys) {
  REQUIRE(file.entries().size() == keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    const std::string key = keys[i]["key"].get<std::string>(), type = keys[i]["type"].get<std::string>();
    CAPTURE(key);
    CHECK(file.entries()[i].key == key);
    CHECK(name_of(file.entries()[i].value.type) == type);
    if (type != "array") {
      check_scalar(file, key, type, keys[i]["value"]);
      continue;
    }
    const std::string element = keys[i]["element"].get<std::string>();
    CHECK(name_of(file.entries()[i].value.element) == element);
    check_array(file, key, element, keys[i]["value"]);
  }
}

void check_tensors(const GgufFile& file, const std::vector<uint8_t>& bytes, const json& tensors) {
  REQUIRE(file.tensors().size() == tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const GgufTensor& got = file.tensors()[i];
    const json& want = tensors[i];
    CAPTURE(got.name);
    CHECK(got.name == want["name"].get<std::string>());
    CHECK(got.format_name() == want["format"].get<std::string>());
    CHECK(got.dtype.has_value());
    CHECK(got.offset == want["offset"].get<uint64_t>());
    CHECK(got.bytes == want["bytes"].get<uint64_t>());
    REQUIRE(got.n_dims == static_cast<int>(want["dims"].size()));
    for (int d = 0; d < 4; ++d)
      CHECK(got.dims[static_cast<size_t>(d)] ==
            (d < got.n_dims ? want["dims"][static_cast<size_t>(d)].get<int64_t>() : 1));
    const uint64_t start = file.data_offset() + got.offset;
    REQUIRE(start + got.bytes <= bytes.size());
    const uint64_t sum =
        fnv1a({reinterpret_cast<const char*>(bytes.data() + start), static_cast<size_t>(got.bytes)});
    CHECK(sum == std::stoull(want["fnv1a64"].get<std::string>(), nullptr, 16));
  }
}

TEST_CASE("files of the gguf package are read as the package reads them") {
  const json golden = test::read_golden("gguf/files.json");
  for (const json& entry : golden["cases"]) {
    const std::string name = entry["name"].get<std::string>();
    CAPTURE(name);
    const std::vector<uint8_t> bytes = from_hex(entry["bytes"].get<std::string>());
    const auto parsed = parse_gguf(bytes, bytes.size());
    if (!entry["error"].is_null()) {
      CHECK(error_name(parsed.status().code()) == entry["error"].get<std::string>());
      continue;
    }
    REQUIRE_MESSAGE(parsed.ok(), parsed.status().message());
    REQUIRE(parsed->has_value());
    const GgufFile& file = **parsed;
    CHECK(file.version() == entry["version"].get<uint32_t>());
    CHECK(file.alignment() == entry["alignment"].get<uint64_t>());
    CHECK(file.data_offset() == entry["data_offset"].get<uint64_t>());
    CHECK(file.file_bytes() == bytes.size());
    check_keys(file, entry["keys"]);
    check_tensors(file, bytes, entry["tensors"]);
  }
}

TEST_CASE("a prefix of a good file asks for more until the header is there, then gives the same index") {
  const json golden = test::read_golden("gguf/files.json");
  for (const json& entry : golden["cases"]) {
    if (!entry["error"].is_null()) continue;
    const std::vector<uint8_t> bytes = from_hex(entry["bytes"].get<std::string>());
    size_t first = 0;  // shortest prefix that is enough
    for (size_t n = 0; n <= bytes.size() && first == 0; ++n) {
      const auto parsed = parse_gguf(std::span(bytes).first(n), bytes.size());
      REQUIRE_MESSAGE(parsed.ok(), parsed.status().message());
      if (!parsed->has_value()) continue;
      first = n;
      check_keys(**parsed, entry["keys"]);
      check_tensors(**parsed, bytes, entry["tensors"]);
    }
    CHECK(first > 0);
    CHECK(first <= entry["data_offset"].get<size_t>());
  }
}

}  // namespace
}  // namespace nutshell
