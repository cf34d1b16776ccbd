// Pre-tokenizers of byte-level BPE: how text is cut into pieces before merging. L4; inside text/.
// Each kind is data: names (as in tokenizer.ggml.pre), two flags and a row of split patterns. See
// pretokenize.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/split_pattern.h"

namespace nutshell {

class PreTokenizer {
 public:
  // name: tokenizer.ggml.pre. unsupported_tokenizer names it and lists what is supported.
  static Result<PreTokenizer> make(std::string_view name);
  // The name of the row with exactly these patterns and flags, as another file format describes them.
  // unsupported_tokenizer quotes the first pattern and lists the known names.
  static Result<std::string> find(const std::vector<std::string>& rules, bool nfc, bool ignore_merges);
  // The pattern of GPT-2, which Hugging Face's ByteLevel applies without naming it.
  static std::string gpt2_pattern();
  // All known names, separated by ", ".
  static std::string known_names();

  bool nfc() const { return nfc_; }  // text is normalised to NFC first
  bool ignore_merges() const {
    return ignore_merges_;
  }  // a piece that is a token as a whole is taken as it is

  // Ends of the pieces in bytes, ascending; the last one is text.size(). Empty for empty text.
  std::vector<size_t> split(std::string_view text) const;

 private:
  bool nfc_ = false, ignore_merges_ = false;
  std::vector<SplitPattern> patterns_;
};

}  // namespace nutshell
