// See utf8_stream.h.
#include "text/utf8_stream.h"

#include "text/utf8.h"

namespace nutshell {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string out;
  size_t position = 0;
  while (position < pending_.size()) {
    const Utf8Char c = read_utf8(pending_, position);
    if (c.kind == Utf8Char::Kind::incomplete) break;
    if (c.kind == Utf8Char::Kind::valid) {
      out.append(pending_, position, c.length);
    } else {
      out += kReplacement;
    }
    position += c.length;
  }
  pending_.erase(0, position);
  return out;
}

std::string Utf8Stream::flush() {
  std::string out(pending_.empty() ? std::string_view() : kReplacement);
  pending_.clear();
  return out;
}

}  // namespace nutshell
