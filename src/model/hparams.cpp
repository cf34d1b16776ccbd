#include "model/hparams.h"

#include <algorithm>

namespace nutshell {
namespace {

// Far above any real model, low enough that no later product overflows 64 bits.
constexpr int64_t kMaxLayers = 1024, kMaxWidth = 1 << 20, kMaxHeads = 4096, kMaxVocab = 1 << 24,
                  kMaxContext = 1 << 26;

template <typename T>
Status in_range(const std::string& key, T value, T low, T high) {
  if (value >= low && value <= high) return {};
  return {ErrorCode::limit_exceeded, "'" + key + "' is " + std::to_string(value) + ", allowed is " +
                                         std::to_string(low) + " to " + std::to_string(high)};
}

Status read_rope(const HParamReader& r, HParams& p) {
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
  } else if (type == "longrope") {
    p.rope.scaling = RopeScaling::longrope;
  } else {
    return {
        ErrorCode::unsupported_architecture,
        "the RoPE scaling " + quoted(type) + " is not supported; supported: none, linear, yarn, longrope"};
  }
  return {};
}

}  // namespace

Status HParamReader::integer(const char* key, int64_t low, int64_t high, int64_t& out,
                             int64_t fallback) const {
  const auto value = fallback < 0 ? file_.get_i64(full(key)) : file_.get_i64(full(key), fallback);
  if (!value.ok()) return value.status();
  out = *value;
  return in_range(full(key), out, low, high);
}

Status HParamReader::number(const char* key, double low, double high, double& out) const {
  ASSIGN_OR_RETURN(const float value, file_.get_f32(full(key), static_cast<float>(out)));
  if (has(key)) out = static_cast<double>(value);
  return in_range(full(key), out, low, high);
}

Status HParamReader::number(const char* key, double low, double high, float& out) const {
  double value = static_cast<double>(out);
  RETURN_IF_ERROR(number(key, low, high, value));
  out = static_cast<float>(value);
  return {};
}

Status HParamReader::head_count_kv(HParams& p) const {
  const std::string key = full("attention.head_count_kv");
  std::vector<int64_t> counts;
  if (file_.is_array(key)) {
    ASSIGN_OR_RETURN(counts, file_.get_i64s(key));
    if (static_cast<int64_t>(counts.size()) < p.n_layer)
      return {ErrorCode::corrupt_file, "'" + key + "' has " + std::to_string(counts.size()) + " values for " +
                                           std::to_string(p.n_layer) + " layers"};
    counts.resize(static_cast<size_t>(p.n_layer));
  } else {
    RETURN_IF_ERROR(integer("attention.head_count_kv", 1, kMaxHeads, p.n_head_kv, p.n_head));
    counts = {p.n_head_kv};
  }
  for (int64_t count : counts) {
    RETURN_IF_ERROR(in_range<int64_t>(key, count, 0, kMaxHeads));
    if (count > 0 && p.n_head % count != 0)
      return {ErrorCode::corrupt_file, std::to_string(p.n_head) + " attention heads cannot share " +
                                           std::to_string(count) + " key/value heads"};
    if (count != counts[0]) p.n_head_kv_by_layer = counts;
    p.n_head_kv = std::max(p.n_head_kv, count);
  }
  return in_range<int64_t>(key, p.n_head_kv, 1, kMaxHeads);
}

Status HParamReader::window(int64_t fallback_window, int64_t fallback_pattern, HParams& p) const {
  RETURN_IF_ERROR(integer("attention.sliding_window", 0, kMaxContext, p.window, fallback_window));
  if (p.window == 0) return {};
  const std::string key = full("attention.sliding_window_pattern");
  if (file_.is_array(key)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> flags, file_.get_i64s(key));
    if (static_cast<int64_t>(flags.size()) < p.n_layer)
      return {ErrorCode::corrupt_file, "'" + key + "' has " + std::to_string(flags.size()) + " values for " +
                                           std::to_string(p.n_layer) + " layers"};
    for (int64_t il = 0; il < p.n_layer; ++il) p.windowed.push_back(flags[static_cast<size_t>(il)] != 0);
    return {};
  }
  int64_t pattern = 0;
  RETURN_IF_ERROR(integer("attention.sliding_window_pattern", 1, kMaxLayers, pattern, fallback_pattern));
  for (int64_t il = 0; il < p.n_layer; ++il) p.windowed.push_back(il % pattern != pattern - 1);
  return {};
}

Result<HParams> read_common_hparams(const GgufFile& file, Layers layers) {
  HParams p;
  ASSIGN_OR_RETURN(p.architecture, file.get_string("general.architecture"));
  ASSIGN_OR_RETURN(p.name, file.get_string("general.name", ""));
  const HParamReader r(file, p.architecture);
  RETURN_IF_ERROR(r.integer("block_count", 1, kMaxLayers, p.n_layer));
  RETURN_IF_ERROR(r.integer("embedding_length", 1, kMaxWidth, p.n_embd));
  RETURN_IF_ERROR(r.integer("feed_forward_length", 1, kMaxWidth, p.n_ff));
  RETURN_IF_ERROR(r.integer("context_length", 1, kMaxContext, p.n_ctx_train));
  RETURN_IF_ERROR(r.integer("attention.head_count", 1, kMaxHeads, p.n_head));
  RETURN_IF_ERROR(r.head_count_kv(p));
  if (layers == Layers::alike && !p.n_head_kv_by_layer.empty())
    return Status(
        ErrorCode::unsupported_architecture,
        "'" + p.architecture + ".attention.head_count_kv' differs between layers, which is not supported");
  if (!r.has("attention.key_length") && p.n_embd % p.n_head != 0)
    return Status(ErrorCode::corrupt_file, "the width " + std::to_string(p.n_embd) +
                                               " does not divide into " + std::to_string(p.n_head) +
                                               " heads");
  RETURN_IF_ERROR(r.integer("attention.key_length", 2, kMaxWidth, p.head_dim, p.n_embd / p.n_head));
  RETURN_IF_ERROR(r.integer("attention.value_length", 2, kMaxWidth, p.head_dim_v, p.head_dim));
  if (layers == Layers::alike && p.head_dim_v != p.head_dim)
    return Status(ErrorCode::unsupported_architecture, "keys of " + std::to_string(p.head_dim) +
                                                           " and values of " + std::to_string(p.head_dim_v) +
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
