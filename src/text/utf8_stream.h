// Turns a stream of token bytes into complete UTF-8: never half a character. L4; sees only base.
#pragma once

#include <string>
#include <string_view>

namespace nutshell {

class Utf8Stream {
 public:
  // Takes the bytes of the next token; returns the longest prefix that ends at a character boundary.
  // Bytes that can never become a valid character come out as U+FFFD, one per maximal invalid subpart
  // (Unicode standard, section 3.9, as browsers' TextDecoder does).
  std::string push(std::string_view bytes);
  // What is still held back at the end, as U+FFFD if incomplete.
  std::string flush();

 private:
  std::string pending_;  // at most 3 bytes: a valid prefix of one character
};

}  // namespace nutshell
