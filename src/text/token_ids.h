// Which token has a text: a hash table made once per load, in two pieces of memory. L4; inside text/.
// A node-based map of a hundred thousand texts costs a tenth of a second in code that the browser has not
// optimised yet, which is most of a warm start.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace nutshell {

class TokenIds {
 public:
  // tokens must outlive the table. Errors: corrupt_file naming two tokens of the same text; limit_exceeded
  // for texts that were chosen to collide.
  static Result<TokenIds> build(std::span<const std::string> tokens);
  // The id of a text, of two texts put together; -1: none.
  int32_t find(std::string_view text) const { return find(text, {}); }
  int32_t find(std::string_view left, std::string_view right) const;
  // The same, where `guess` is likely to be the answer: then it is no walk through the table.
  int32_t find(std::string_view left, std::string_view right, int32_t guess) const;

 private:
  bool is(int32_t id, std::string_view left, std::string_view right) const;

  struct Slot {
    uint32_t mark = 0;  // the hash's upper half
    int32_t id = -1;
  };
  std::span<const std::string> tokens_;
  std::vector<Slot> slots_;  // a power of two, at most half full; a text lies at its hash or behind
};

}  // namespace nutshell
