// Token ids of the texts a model is calibrated on and measured with. L5.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace nutshell::compress {

// A text as it is; a file "*.jsonl" holds conversations, one a line:
//   {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, ...]}
// They are written with the turn markers the model was trained with, known by the tokens of its vocabulary
// (ChatML, Gemma, Llama 3, Phi 3), else as "User: ...". This stands in for the model's own template, which is
// a program; what it calibrates are the markers and that answers follow questions. name: of the file. Errors:
// corrupt_file naming the line.
Result<std::vector<int32_t>> encode_calibration(const Tokenizer& tokenizer, std::string_view name,
                                                std::string_view content);

// The tokens with what each of the model's texts begins and ends with put in, so that every window of `length`
// is such a text. The last one may lack its end.
std::vector<int32_t> frame_windows(std::span<const int32_t> tokens, int64_t length,
                                   std::span<const int32_t> prefix, std::span<const int32_t> suffix);

// At most n windows of `length` tokens from all over a text; none where it is shorter than one.
std::vector<std::span<const int32_t>> spread_windows(std::span<const int32_t> tokens, int64_t length,
                                                     int64_t n);

}  // namespace nutshell::compress
