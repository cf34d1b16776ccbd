// Activations as 8-bit codes, 32 columns sharing a scale: what the integer kernels multiply with. L2.
// d = largest magnitude / 127; code = x / d rounded to nearest even, in -127..127 (never -128: the int16 sums
// of matvec.h rely on it). Worst error d / 2 per value. Input must be finite for results to mean anything; no
// input is undefined behaviour.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nutshell {

// Forms of the codes that kernels read; a row is quantised in those its readers need.
enum ActForm : uint8_t {
  kActBytes = 1,   // int8 in order: relaxed forms
  kActWords = 2,   // int16, each chunk of 4 columns as (0, 2, 1, 3): strict form for packed nibbles
  kActPlain = 4,   // int16 in order: Q8_0 without relaxed quads
  kActPlanes = 8,  // code = low - 128 sign with low in 0..127 and sign 0 or 1: Q8_0 with relaxed quads
};

// One quantised row, for matvec. All arrays are 16-byte aligned.
struct ActRow {
  int8_t* bytes;
  int16_t* words;
  int16_t* plain;
  uint8_t* low;
  uint8_t* sign;
  float* d;       // per 32 columns: scale * kActScale
  float* s;       // per 32 columns: scale * kActScale * sum of codes
  int32_t* sums;  // per 16 columns: sum of codes

  static size_t bytes_needed(int64_t n_cols);
  // A row of n_cols (a multiple of 32) in 16-byte aligned memory of bytes_needed().
  static ActRow at(void* memory, int64_t n_cols);
};

void quantize_row(const float* x, int64_t n_cols, int forms, const ActRow& out);

inline constexpr int kTileTokens = 4;

// Quantised rows of n_tokens tokens interleaved in tiles of 4, for matmul. The last tile is padded with
// zeros.
struct ActTiles {
  int64_t n_cols = 0;
  int8_t* bytes = nullptr;   // [tile][slice][chunk 8][token 4][4]
  int16_t* words = nullptr;  // [tile][slice][chunk 8][pair 2][token 4][2]: columns (0, 2), then (1, 3)
  float* d = nullptr;        // [tile][slice][token 4]: scale
  float* s = nullptr;        // [tile][slice][half 2][token 4]: scale * sum of 16 codes

  static size_t bytes_needed(int64_t n_cols, int64_t n_tokens);
  static ActTiles at(void* memory, int64_t n_cols, int64_t n_tokens);
  // The same tiles from the first-th on.
  ActTiles from_tile(int64_t first) const {
    const int64_t n = first * (n_cols / 32);
    return {n_cols, bytes + n * 128, words + n * 128, d + n * 4, s + n * 8};
  }
};

// Quantises x (n_cols values) as token t of the tiles; row is scratch. forms: kActBytes, kActWords.
void quantize_to_tiles(const float* x, int64_t t, int forms, const ActRow& row, const ActTiles& tiles);
// Zero codes and scales as token t: the padding of the last tile.
void clear_in_tiles(int64_t t, const ActTiles& tiles);

}  // namespace nutshell
