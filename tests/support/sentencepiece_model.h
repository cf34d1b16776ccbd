// SentencePiece model files by hand (fields of sentencepiece_model.proto).
#pragma once

#include <string>

namespace nutshell::test {

// pieces = 1 {piece 1, score 2, type 3}. type: 1 normal, 2 unknown, 3 control, 4 user-defined, 6 byte.
inline std::string model_piece(const std::string& text, char type, float score) {
  std::string body = std::string("\x0A") + static_cast<char>(text.size()) + text + "\x15";
  body.append(reinterpret_cast<const char*>(&score), 4).append("\x18").append(1, type);
  return std::string("\x0A") + static_cast<char>(body.size()) + body;
}

// trainer_spec = 2 {model_type 3: BPE}; normalizer_spec = 3 {add_dummy_prefix 3, remove_extra_whitespaces 4}.
inline const std::string kModelBpe("\x12\x02\x18\x02", 4);
inline const std::string kModelNoPrefix("\x1A\x04\x18\x00\x20\x00", 6),
    kModelPrefix("\x1A\x04\x18\x01\x20\x00", 6);

// Ids: 0 <unk>, 1 <s>, 2 </s>, 3 "a", 4 space, 5 two spaces.
inline std::string small_model_pieces() {
  return model_piece("<unk>", 2, 0) + model_piece("<s>", 3, 0) + model_piece("</s>", 3, 0) +
         model_piece("a", 1, -2) + model_piece("\xE2\x96\x81", 1, -3) +
         model_piece("\xE2\x96\x81\xE2\x96\x81", 4, 0);
}

}  // namespace nutshell::test
