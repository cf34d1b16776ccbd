// See token_ids.h. FNV-1a with 64 bits (draft-eastlake-fnv): byte by byte, so that two texts hash like one.
#include "text/token_ids.h"

#include <bit>

#include "text/vocabulary.h"

namespace nutshell {
namespace {

constexpr uint64_t kEmpty = 0xcbf29ce484222325u;
// Longest way from a text's place to where it lies. Half full, honest vocabularies stay below a hundred.
constexpr size_t kMaxSteps = 4096;

uint64_t hash(std::string_view text, uint64_t h) {
  for (const char c : text) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return h;
}
uint32_t mark_of(uint64_t h) { return static_cast<uint32_t>(h >> 32); }
// The lowest bits of FNV depend on few bits of the text.
size_t place_of(uint64_t h) { return static_cast<size_t>(h ^ h >> 32); }

}  // namespace

Result<TokenIds> TokenIds::build(std::span<const std::string> tokens) {
  TokenIds ids;
  ids.tokens_ = tokens;
  ids.slots_.resize(std::bit_ceil(2 * tokens.size() + 2));
  const size_t mask = ids.slots_.size() - 1;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const uint64_t h = hash(tokens[i], kEmpty);
    size_t at = place_of(h) & mask;
    for (size_t steps = 0; ids.slots_[at].id >= 0; at = (at + 1) & mask, ++steps) {
      const auto other = static_cast<size_t>(ids.slots_[at].id);
      if (ids.slots_[at].mark == mark_of(h) && tokens[other] == tokens[i])
        return Status(ErrorCode::corrupt_file, "tokens " + std::to_string(other) + " and " +
                                                   std::to_string(i) + " are both " + token_text(tokens[i]));
      if (steps > kMaxSteps)
        return Status(ErrorCode::limit_exceeded, "the vocabulary's texts collide in a hash table");
    }
    ids.slots_[at] = {mark_of(h), static_cast<int32_t>(i)};
  }
  return ids;
}

int32_t TokenIds::find(std::string_view left, std::string_view right) const {
  const uint64_t h = hash(right, hash(left, kEmpty));
  const size_t mask = slots_.size() - 1;
  for (size_t at = place_of(h) & mask; slots_[at].id >= 0; at = (at + 1) & mask) {
    if (slots_[at].mark == mark_of(h) && is(slots_[at].id, left, right)) return slots_[at].id;
  }
  return -1;
}

int32_t TokenIds::find(std::string_view left, std::string_view right, int32_t guess) const {
  const bool there = guess >= 0 && static_cast<size_t>(guess) < tokens_.size();
  return there && is(guess, left, right) ? guess : find(left, right);
}

bool TokenIds::is(int32_t id, std::string_view left, std::string_view right) const {
  const std::string_view text = tokens_[static_cast<size_t>(id)];
  return text.size() == left.size() + right.size() && text.starts_with(left) && text.ends_with(right);
}

}  // namespace nutshell
