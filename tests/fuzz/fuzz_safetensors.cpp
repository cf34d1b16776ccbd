// Fuzz target of the safetensors header: any bytes are refused with a typed error or give tensors that lie
// inside the file, side by side, with the bytes their shape needs. Built by libFuzzer with the preset "fuzz";
// the unit tests run the same function over damaged headers (tests/unit/model/safetensors_fuzz_test.cpp).
#include "fuzz/require.h"
#include "model/hf/safetensors.h"

namespace nutshell::fuzz {

// True when the bytes are a safetensors file.
inline bool run_safetensors(std::span<const uint8_t> bytes) {
  const auto length =
      safetensors_header_bytes(bytes.first(bytes.size() < 8 ? bytes.size() : 8), bytes.size(), "f");
  if (!length.ok()) {
    require(!length.status().message().empty());
    return false;
  }
  require(*length <= bytes.size());
  const auto tensors = parse_safetensors(bytes.first(*length), bytes.size(), "f");
  if (!tensors.ok()) {
    require(!tensors.status().message().empty());
    return false;
  }
  uint64_t end = *length;
  for (const SafetensorsTensor& t : *tensors) {
    require(t.offset == end && t.bytes <= bytes.size() - end);
    require(!t.name.empty() && t.n_values() > 0);
    if (t.dtype == "F32") require(t.bytes == 4 * static_cast<uint64_t>(t.n_values()));
    end += t.bytes;
  }
  require(end == bytes.size());
  return true;
}

}  // namespace nutshell::fuzz

#ifndef NUTSHELL_FUZZ_INCLUDED  // the unit tests call run_safetensors()
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t n) {
  nutshell::fuzz::run_safetensors({bytes, n});
  return 0;
}
#endif
