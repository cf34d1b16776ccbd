// Fuzz target of the GGUF reader: any bytes are either refused with a typed error or give an index whose
// every promise holds. Built by libFuzzer with the preset "fuzz" (see CONTRIBUTING.md); the unit tests run
// the same function over all broken files and mutations of them (tests/unit/model/gguf_fuzz_test.cpp).
#include <cmath>
#include <cstdint>

#include "base/rng.h"
#include "fuzz/require.h"
#include "model/gguf.h"

namespace {

using namespace nutshell;
using fuzz::require;

// Reads everything a value has by every getter; sums, so that nothing is optimised away.
uint64_t read_value(const GgufFile& file, const GgufFile::Entry& entry) {
  uint64_t sum = 0;
  if (const auto v = file.get_u32(entry.key); v.ok()) sum += *v;
  if (const auto v = file.get_i64(entry.key); v.ok()) sum += static_cast<uint64_t>(*v);
  if (const auto v = file.get_f32(entry.key); v.ok()) require(std::isfinite(*v));
  if (const auto v = file.get_bool(entry.key); v.ok()) sum += *v;
  if (const auto v = file.get_string(entry.key); v.ok()) sum += fnv1a(*v);
  if (const auto v = file.get_i64s(entry.key); v.ok())
    for (const int64_t x : *v) sum += static_cast<uint64_t>(x);
  if (const auto v = file.get_f32s(entry.key); v.ok()) sum += v->size();
  if (const auto v = file.get_strings(entry.key); v.ok())
    for (size_t i = 0; i < v->size(); ++i) sum += fnv1a((*v)[i]);
  return sum;
}

void check_tensors(const GgufFile& file, uint64_t file_bytes) {
  uint64_t total = 0;
  for (const GgufTensor& t : file.tensors()) {
    require(file.find_tensor(t.name) == &t);
    require(t.n_dims >= 1 && t.n_dims <= 4 && t.n_values() > 0);
    require(t.offset % file.alignment() == 0);
    require(file.data_offset() <= file_bytes && t.offset <= file_bytes - file.data_offset());
    require(t.bytes <= file_bytes - file.data_offset() - t.offset);
    if (t.dtype) require(t.bytes == static_cast<uint64_t>(row_bytes(*t.dtype, t.n_values())));
    require(!t.format_name().empty());
    total += t.bytes;
  }
  require(total <= file_bytes);  // nothing overlaps
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> bytes(data, size);
  const auto whole = parse_gguf(bytes, size);
  if (!whole.ok()) {
    require(!whole.status().message().empty() && whole.status().message().size() < 1000);
    require(whole.status().code() != ErrorCode::internal &&
            whole.status().code() != ErrorCode::invalid_argument);
  } else {
    require(whole->has_value());  // all bytes were there
    const GgufFile& file = **whole;
    uint64_t sum = 0;
    for (const GgufFile::Entry& entry : file.entries()) sum += read_value(file, entry);
    check_tensors(file, size);
    require(sum != 1 || !file.entries().empty());
  }
  // A shorter prefix asks for more, gives the same, or refuses what the whole file refuses.
  const auto part = parse_gguf(bytes.first(size / 2), size);
  if (!part.ok()) require(!whole.ok());
  if (part.ok() && part->has_value() && whole.ok())
    require((*part)->tensors().size() == (*whole)->tensors().size());
  // As the beginning of a larger file.
  const auto larger = parse_gguf(bytes, uint64_t{1} << 40);
  if (larger.ok() && larger->has_value()) check_tensors(**larger, uint64_t{1} << 40);
  return 0;
}
