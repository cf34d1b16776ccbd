#include "model/hparams.h"

namespace nutshell {
namespace {

// Far above any real model, low enough that no later product overflows 64 bits.
constexpr int64_t kMaxLayers = 1024, kMaxWidth = 1 << 20, kMaxHeads = 4096, kMaxVocab = 1 << 24,
                  kMaxContext = 1 << 26;

class Reader {
 public:
  Reader(const GgufFile& file, std::string architecture) : file_(file), prefix_(std::move(architecture)) {}

  bool has(const char* key) const { return file_.has(full(key)); }
  // An integer in [low, high]; absent: fallback, or missing_metadata when fallback < 0.
  Status integer(const char* key, int64_t low, int64_t high, int64_t& out, int64_t fallback = -1) const {
    const auto value = fallback < 0 ? file_.get_i64(full(key)) : file_.get_i64(full(key), fallback);
    if (!value.ok()) return value.status();
    out = *value;
    return in_range(key, out, low, high);
  }
  // A number in [low, high]; absent: out keeps its value.
  Status number(const char* key, double low, double high, double& out) const {
    ASSIGN_OR_RETURN(const float value, file_.get_f32(full(key), static_cast<float>(out)));
    if (has(key)) out = static_cast<double>(value);
    return in_range(key, out, low, high);
  }
  Result<std::string> text(const char* key, std::string_view fallback) const {
    return file_.get_string(full(key), fallback);
  }
  // head_count_kv may be an array with one value per layer; only equal values are supported here.
  Status head_count_kv(int64_t fallback, int64_t& out) const {
    const std::string key = full("attention.head_count_kv");
    if (!file_.is_array(key)) return integer("attention.head_count_kv", 1, kMaxHeads, out, fallback);
    ASSIGN_OR_RETURN(const std::vector<int64_t> counts, file_.get_i64s(key));
    for (int64_t count : counts)
      if (count != counts[0])
        return {ErrorCode::unsupported_architecture,
                "'" + key + "' differs between layers, which is not supported"};
    if (counts.empty()) return {ErrorCode::corrupt_file, "'" + key + "' is an empty list"};
    out = counts[0];
    return in_range<int64_t>("attention.head_count_kv", out, 1, kMaxHeads);
  }

 private:
  std::string full(const char* key) const { return prefix_ + "." + key; }
  template <typename T>
  Status in_range(const char* key, T value, T low, T high) const {
    if (value >= low && value <= high) return {};
    return {ErrorCode::limit_exceeded, "'" + full(key) + "' is " + std::to_string(value) + ", allowed is " +
                                           std::to_string(low) + " to " + std::to_string(high)};
  }

  const GgufFile& file_;
  std::string prefix_;
};

Status read_rope(const Reader& r, HParams& p) {
  RETURN_IF_ERROR(r.integer("rope.dimension_count", 2, p.head_dim, p.rope.n_rot, p.head_dim));
  if (p.rope.n_rot % 2 != 0)
    return {ErrorCode::corrupt_file, "'rope.dimension_count' is odd: " + std::to_string(p.rope.n_rot)};
  RETURN_IF_ERROR(r.number("rope.freq_base", 1.0, 1e12, p.rope.freq_base));
  ASSIGN_OR_RETURN(const std::string type,
                   r.text("rope.scaling.type", r.has("rope.scale_linear") ? "linear" : "none"));
  RETURN_IF_ERROR(r.number("rope.scale_linear", 1e-6, 1e6, p.rope.factor));  // old name of a linear factor
  RETURN_IF_ERROR(r.number("rope.scaling.factor", 1e-6, 1e6, p.rope.factor));
  RETURN_IF_ERROR(r.number("rope.scaling.attn_factor", 1e-6, 1e6, p.rope.attn_factor));
  RETURN_IF_ERROR(r.number("rope.scaling.yarn_ext_factor", 0.0, 1e6, p.rope.ext_factor));
  RETURN_IF_ERROR(r.number("rope.scaling.yarn_beta_fast", 1e-6, 1e6, p.rope.beta_fast));
  RETURN_IF_ERROR(r.number("rope.scaling.yarn_beta_slow", 1e-6, 1e6, p.rope.beta_slow));
  p.rope.n_ctx_orig = static_cast<double>(p.n_ctx_train);
  RETURN_IF_ERROR(r.number("rope.scaling.original_context_length", 1.0, 1e9, p.rope.n_ctx_orig));
  if (type == "none") {
    p.rope.scaling = RopeScaling::none;
  } else if (type == "linear") {
    p.rope.scaling = RopeScaling::linear;
  } else if (type == "yarn") {
    p.rope.scaling = RopeScaling::yarn;
  } else {
    return {ErrorCode::unsupported_architecture,
            "the RoPE scaling " + quoted(type) + " is not supported; supported: none, linear, yarn"};
  }
  return {};
}

}  // namespace

Result<HParams> read_common_hparams(const GgufFile& file) {
  HParams p;
  ASSIGN_OR_RETURN(p.architecture, file.get_string("general.architecture"));
  ASSIGN_OR_RETURN(p.name, file.get_string("general.name", ""));
  const Reader r(file, p.architecture);
  RETURN_IF_ERROR(r.integer("block_count", 1, kMaxLayers, p.n_layer));
  RETURN_IF_ERROR(r.integer("embedding_length", 1, kMaxWidth, p.n_embd));
  RETURN_IF_ERROR(r.integer("feed_forward_length", 1, kMaxWidth, p.n_ff));
  RETURN_IF_ERROR(r.integer("context_length", 1, kMaxContext, p.n_ctx_train));
  RETURN_IF_ERROR(r.integer("attention.head_count", 1, kMaxHeads, p.n_head));
  RETURN_IF_ERROR(r.head_count_kv(p.n_head, p.n_head_kv));
  if (p.n_head % p.n_head_kv != 0)
    return Status(ErrorCode::corrupt_file, std::to_string(p.n_head) + " attention heads cannot share " +
                                               std::to_string(p.n_head_kv) + " key/value heads");
  if (!r.has("attention.key_length") && p.n_embd % p.n_head != 0)
    return Status(ErrorCode::corrupt_file, "the width " + std::to_string(p.n_embd) +
                                               " does not divide into " + std::to_string(p.n_head) +
                                               " heads");
  RETURN_IF_ERROR(r.integer("attention.key_length", 2, kMaxWidth, p.head_dim, p.n_embd / p.n_head));
  int64_t value_length = 0;
  RETURN_IF_ERROR(r.integer("attention.value_length", 2, kMaxWidth, value_length, p.head_dim));
  if (value_length != p.head_dim)
    return Status(ErrorCode::unsupported_architecture, "keys of " + std::to_string(p.head_dim) +
                                                           " and values of " + std::to_string(value_length) +
                                                           " dimensions per head");
  double eps = static_cast<double>(p.rms_eps);
  RETURN_IF_ERROR(r.number("attention.layer_norm_rms_epsilon", 0.0, 1.0, eps));
  p.rms_eps = static_cast<float>(eps);
  RETURN_IF_ERROR(read_rope(r, p));
  ASSIGN_OR_RETURN(p.rope_halves, file.get_bool(kRopeHalvesKey, false));
  ASSIGN_OR_RETURN(const GgufStrings tokens, file.get_strings("tokenizer.ggml.tokens"));
  p.n_vocab = static_cast<int64_t>(tokens.size());
  if (p.n_vocab < 1 || p.n_vocab > kMaxVocab)
    return Status(ErrorCode::limit_exceeded, "the vocabulary has " + std::to_string(p.n_vocab) + " tokens");
  return p;
}

}  // namespace nutshell
