// What every decoder architecture is described by, read from metadata and range-checked. L4.
#pragma once

#include <string>

#include "base/result.h"
#include "model/gguf.h"
#include "model/rope_scaling.h"

namespace nutshell {

struct HParams {
  std::string architecture;  // general.architecture
  std::string name;          // general.name, may be empty
  int64_t n_layer = 0, n_embd = 0, n_ff = 0;
  int64_t n_head = 0, n_head_kv = 0, head_dim = 0;
  int64_t n_vocab = 0;
  int64_t n_ctx_train = 0;
  float rms_eps = 1e-5f;
  RopeParams rope;
  bool rope_halves =
      false;  // q and k turn halves of a head although the architecture's GGUF files have pairs
};

// A key of ours, for weights that were not permuted as GGUF's converter does.
inline constexpr std::string_view kRopeHalvesKey = "nutshell.rope_halves";

// Reads the keys all llama-like architectures share, prefixed with the architecture's name.
// Errors: missing_metadata, corrupt_file, limit_exceeded with the key and its value.
Result<HParams> read_common_hparams(const GgufFile& file);

}  // namespace nutshell
