// Deterministic damage to bytes: what the fuzz targets get in every build.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "base/rng.h"
#include "support/gguf_writer.h"

namespace nutshell::test {

// One to four small changes: a bit, a byte, a 32- or 64-bit word of a telling value, a cut, a
// doubled piece; in the first `within` bytes.
inline Bytes mutated(Bytes bytes, uint64_t seed, size_t within = SIZE_MAX) {
  constexpr std::array<uint64_t, 10> kTelling = {0,          1,          8,          13,         0x7fffffff,
                                                 0xffffffff, 1ull << 32, 1ull << 40, 1ull << 63, ~0ull};
  uint64_t index = 0;
  const auto random = [&](uint64_t below) { return counter_rng(seed, index++) % below; };
  const uint64_t changes = 1 + random(4);
  for (uint64_t i = 0; i < changes && !bytes.empty(); ++i) {
    const size_t at = random(std::min(bytes.size(), within));
    const uint64_t word = kTelling[random(kTelling.size())];
    const size_t room = bytes.size() - at;
    switch (random(6)) {
      case 0:
        bytes[at] ^= static_cast<uint8_t>(1u << random(8));
        break;
      case 1:
        bytes[at] = static_cast<uint8_t>(random(256));
        break;
      case 2:
        std::memcpy(&bytes[at], &word, std::min<size_t>(4, room));
        break;
      case 3:
        std::memcpy(&bytes[at], &word, std::min<size_t>(8, room));
        break;
      case 4:
        bytes.resize(at);
        break;
      case 5: {
        const Bytes piece(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                          bytes.begin() + static_cast<std::ptrdiff_t>(at + random(room) + 1));
        bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), piece.begin(), piece.end());
        break;
      }
    }
  }
  return bytes;
}

// How many damaged inputs were taken and refused. Both must happen: damage may lie where nobody reads.
struct Outcomes {
  int accepted = 0, refused = 0;
};

// accepts(bytes) for `rounds` damaged copies of `whole`.
template <typename F>
Outcomes run_mutations(const Bytes& whole, uint64_t rounds, size_t within, F&& accepts) {
  Outcomes out;
  for (uint64_t seed = 0; seed < rounds; ++seed)
    ++(accepts(mutated(whole, seed, within)) ? out.accepted : out.refused);
  return out;
}

}  // namespace nutshell::test
