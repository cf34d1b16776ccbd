// What every decoder architecture is described by, read from metadata and range-checked. L4.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "model/gguf.h"
#include "model/rope_scaling.h"

namespace nutshell {

// How the vectors of a text's tokens become one; none: a language model.
enum class Pooling : uint8_t { none, mean, first };

// Mixture of experts (read by model/experts.h).
struct MoeParams {
  int64_t n_expert = 0, n_used = 0, n_ff = 0;  // n_ff: of one expert
  int64_t n_shared = 0;                        // experts that every token uses, as one of n_shared * n_ff
  int64_t n_dense_layers = 0;                  // leading layers without experts
  int64_t n_group = 0, n_group_used = 0;
  int64_t gating = 0;  // expert_gating_func; 0: not said
  bool normalize = false;
  float scale = 1.0f;
};

// Multi-head latent attention (read by arch/deepseek2.cpp); head widths as before compression.
struct MlaParams {
  int64_t q_rank = 0;  // 0: queries are made in one step
  int64_t kv_rank = 0;
  int64_t head_dim = 0, head_dim_v = 0;
  float attention_scale = 0;
};

struct HParams {
  std::string architecture;  // general.architecture
  std::string name;          // general.name, may be empty
  int64_t n_layer = 0, n_embd = 0, n_ff = 0;
  int64_t n_head = 0, n_head_kv = 0, head_dim = 0;
  int64_t head_dim_v = 0;                   // of values, head_dim of keys
  std::vector<int64_t> n_head_kv_by_layer;  // empty: n_head_kv everywhere; 0: a layer without attention
  int64_t n_vocab = 0;
  int64_t n_ctx_train = 0;
  float rms_eps = 1e-5f;  // of LayerNorm where a family has that
  RopeParams rope;
  bool rope_halves =
      false;  // q and k turn halves of a head although the architecture's GGUF files have pairs
  // What only some families have; an architecture's own read_hparams() fills it.
  int64_t window = 0;               // > 0: positions that a windowed layer sees
  std::vector<bool> windowed;       // per layer; empty: none
  double rope_freq_base_local = 0;  // of windowed layers; 0: as all others
  float attn_softcap = 0, final_softcap = 0;
  int64_t n_token_types = 0;
  Pooling pooling = Pooling::none;  // of models that embed texts
  bool normalize = true;            // then: the vector of a text is made one of length 1
  int64_t max_text_tokens = 0;      // tokens a text may have, first and last one included; 0: the context
  int64_t n_ctx = 0;                // the context it is loaded for; the loader sets it before build()

  MoeParams moe;
  MlaParams mla;
  int64_t conv_kernel = 0;  // positions of a short convolution

  int64_t n_head_kv_of(int64_t layer) const {
    return n_head_kv_by_layer.empty() ? n_head_kv : n_head_kv_by_layer[static_cast<size_t>(layer)];
  }
  bool is_windowed(int64_t layer) const {
    return static_cast<size_t>(layer) < windowed.size() && windowed[static_cast<size_t>(layer)];
  }
};

// Typed, range-checked metadata of one architecture; keys without its prefix. The file must outlive it.
class HParamReader {
 public:
  HParamReader(const GgufFile& file, std::string architecture)
      : file_(file), prefix_(std::move(architecture)) {}

  bool has(const char* key) const { return file_.has(full(key)); }
  // An integer in [low, high]; absent: fallback, or missing_metadata when fallback < 0.
  Status integer(const char* key, int64_t low, int64_t high, int64_t& out, int64_t fallback = -1) const;
  // A number in [low, high]; absent: out keeps its value.
  Status number(const char* key, double low, double high, double& out) const;
  Status number(const char* key, double low, double high, float& out) const;
  Result<std::string> text(const char* key, std::string_view fallback) const {
    return file_.get_string(full(key), fallback);
  }
  Result<bool> flag(const char* key, bool fallback) const { return file_.get_bool(full(key), fallback); }
  // head_count_kv is a number or a list with one per layer.
  Status head_count_kv(HParams& p) const;
  // attention.sliding_window, and which layers have it: all but every n-th, where n or a flag per layer is
  // attention.sliding_window_pattern, else n = fallback_pattern. No window, or 0: no layer.
  Status window(int64_t fallback_window, int64_t fallback_pattern, HParams& p) const;

 private:
  std::string full(const char* key) const { return prefix_ + "." + key; }

  const GgufFile& file_;
  std::string prefix_;
};

// What an architecture can make of layers that are not all alike.
enum class Layers : uint8_t {
  alike,     // the same number of key/value heads everywhere, keys and values of one width
  may_vary,  // neither
};

// A key of ours, for weights that were not permuted as GGUF's converter does.
inline constexpr std::string_view kRopeHalvesKey = "nutshell.rope_halves";

// And of embedding models, for what GGUF has no key for.
inline constexpr std::string_view kNormalizeKey = "nutshell.embedding.normalize",
                                  kMaxTextTokensKey = "nutshell.embedding.max_tokens";

// Reads the keys all llama-like architectures share, prefixed with the architecture's name.
// Errors: missing_metadata, corrupt_file, limit_exceeded with the key and its value.
// unsupported_architecture for layers that differ, when they may not.
Result<HParams> read_common_hparams(const GgufFile& file, Layers layers);
inline Result<HParams> read_common_hparams(const GgufFile& file) {
  return read_common_hparams(file, Layers::alike);
}

}  // namespace nutshell
