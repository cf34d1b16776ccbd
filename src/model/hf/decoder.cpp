// What the llama-like decoders of Hugging Face have in common (transformers 4 and 5: LlamaConfig and its
// kin).
#include <cmath>
#include <numbers>

#include "model/hf/hf_def.h"
#include "model/hf/json.h"

namespace nutshell {
namespace {

constexpr HfKey kKeys[] = {
    {"hidden_size", "embedding_length"},
    {"num_hidden_layers", "block_count"},
    {"intermediate_size", "feed_forward_length"},
    {"num_attention_heads", "attention.head_count"},
    {"num_key_value_heads", "attention.head_count_kv", false},
    {"head_dim", "attention.key_length", false},
    {"head_dim", "attention.value_length", false},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon"},
    {"max_position_embeddings", "context_length"},
};

constexpr HfTensor kTensors[] = {
    {"embed_tokens.weight", "token_embd.weight"},
    {"norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
    {"layers.{l}.input_layernorm.weight", "blk.{l}.attn_norm.weight"},
    {"layers.{l}.self_attn.q_proj.weight", "blk.{l}.attn_q.weight"},
    {"layers.{l}.self_attn.k_proj.weight", "blk.{l}.attn_k.weight"},
    {"layers.{l}.self_attn.v_proj.weight", "blk.{l}.attn_v.weight"},
    {"layers.{l}.self_attn.q_proj.bias", "blk.{l}.attn_q.bias"},
    {"layers.{l}.self_attn.k_proj.bias", "blk.{l}.attn_k.bias"},
    {"layers.{l}.self_attn.v_proj.bias", "blk.{l}.attn_v.bias"},
    {"layers.{l}.self_attn.o_proj.weight", "blk.{l}.attn_output.weight"},
    {"layers.{l}.self_attn.o_proj.bias", "blk.{l}.attn_output.bias"},
    {"layers.{l}.post_attention_layernorm.weight", "blk.{l}.ffn_norm.weight"},
    {"layers.{l}.mlp.gate_proj.weight", "blk.{l}.ffn_gate.weight"},
    {"layers.{l}.mlp.up_proj.weight", "blk.{l}.ffn_up.weight"},
    {"layers.{l}.mlp.down_proj.weight", "blk.{l}.ffn_down.weight"},
    {"layers.{l}.self_attn.rotary_emb.inv_freq", ""},  // made from the config
};

// Llama 3.1's rotary scaling as divisors of the frequencies, which GGUF has as a tensor (transformers:
// _compute_llama3_parameters).
Status add_llama3_factors(const HfConfig& config, const std::string& at, double base, int64_t n_rot,
                          HfModel& out) {
  ASSIGN_OR_RETURN(const double factor, config.number(at + "factor"));
  ASSIGN_OR_RETURN(const double low, config.number(at + "low_freq_factor", 1.0));
  ASSIGN_OR_RETURN(const double high, config.number(at + "high_freq_factor", 4.0));
  ASSIGN_OR_RETURN(const double trained, config.number(at + "original_max_position_embeddings", 8192.0));
  if (!(factor > 0 && low > 0 && high > low && trained > 0))
    return {ErrorCode::corrupt_file,
            config.file() + ": the factors of the RoPE scaling contradict themselves"};
  std::vector<float>& divisors = out.computed["rope_freqs.weight"];
  for (int64_t i = 0; i < n_rot; i += 2) {
    const double wave =
        2.0 * std::numbers::pi * std::pow(base, static_cast<double>(i) / static_cast<double>(n_rot));
    double divisor = factor;
    if (wave < trained / high) {
      divisor = 1.0;
    } else if (wave <= trained / low) {
      const double smooth = (trained / wave - low) / (high - low);
      divisor = 1.0 / ((1.0 - smooth) / factor + smooth);
    }
    divisors.push_back(static_cast<float>(divisor));
  }
  return {};
}

Status add_yarn(const HfConfig& config, const std::string& at, HfModel& out) {
  ASSIGN_OR_RETURN(const double factor, config.number(at + "factor"));
  ASSIGN_OR_RETURN(const int64_t context, config.integer("max_position_embeddings"));
  ASSIGN_OR_RETURN(const int64_t trained, config.integer(at + "original_max_position_embeddings", context));
  out.metadata.add(out.key("rope.scaling.type"), "yarn");
  out.metadata.add(out.key("rope.scaling.factor"), factor);
  if (const std::string key = out.key("rope.scaling.original_context_length"); !out.metadata.has(key))
    out.metadata.add(key, trained);
  out.metadata.add(out.key("rope.scaling.yarn_ext_factor"), 1.0);
  for (const auto& [from, to] : {std::pair{"beta_fast", "rope.scaling.yarn_beta_fast"},
                                 std::pair{"beta_slow", "rope.scaling.yarn_beta_slow"}}) {
    if (!config.has(at + from)) continue;
    ASSIGN_OR_RETURN(const double value, config.number(at + from));
    out.metadata.add(out.key(to), value);
  }
  // attention_factor replaces what YaRN would multiply by itself; deepseek2 has read the mscales.
  const bool mscale = (config.has(at + "mscale") || config.has(at + "mscale_all_dim")) &&
                      !out.metadata.has(out.key(kYarnLogMultiplierKey));
  if (config.has(at + "attention_factor") || mscale)
    return {ErrorCode::unsupported_architecture,
            config.file() + ": a YaRN scaling with a magnitude of its own is not supported in a folder"};
  return {};
}

Status translate(const HfConfig& config, HfModel& out) {
  ASSIGN_OR_RETURN(const int64_t n_embd, config.integer("hidden_size"));
  ASSIGN_OR_RETURN(const int64_t n_head, config.integer("num_attention_heads"));
  if (n_head < 1) return {ErrorCode::corrupt_file, config.file() + ": num_attention_heads is not positive"};
  ASSIGN_OR_RETURN(const int64_t head_dim, config.integer("head_dim", n_embd / n_head));
  if (head_dim < 1 || head_dim > 1 << 16)
    return {ErrorCode::corrupt_file, config.file() + ": head_dim is " + std::to_string(head_dim)};
  return add_hf_rope(config, head_dim, out);
}

// Gemma multiplies by 1 + weight, and norms what each half of a layer adds too.
constexpr HfTensor kGemmaNorms[] = {
    {"norm.weight", "output_norm.weight", TensorTransform::plus_one},
    {"layers.{l}.input_layernorm.weight", "blk.{l}.attn_norm.weight", TensorTransform::plus_one},
    {"layers.{l}.post_attention_layernorm.weight", "blk.{l}.post_attention_norm.weight",
     TensorTransform::plus_one},
    {"layers.{l}.pre_feedforward_layernorm.weight", "blk.{l}.ffn_norm.weight", TensorTransform::plus_one},
    {"layers.{l}.post_feedforward_layernorm.weight", "blk.{l}.post_ffw_norm.weight",
     TensorTransform::plus_one},
};

}  // namespace

std::string hf_rope_path(const HfConfig& config, const std::string& layers) {
  if (!config.has("rope_parameters")) return "rope_scaling.";
  return config.has("rope_parameters." + layers) ? "rope_parameters." + layers + "." : "rope_parameters.";
}

Status add_hf_rope(const HfConfig& config, int64_t head_dim, HfModel& out) {
  const std::string at = hf_rope_path(config, "full_attention");
  ASSIGN_OR_RETURN(const double old_base, config.number("rope_theta", 10000.0));
  ASSIGN_OR_RETURN(const double base, config.number(at + "rope_theta", old_base));
  out.metadata.add(out.key("rope.freq_base"), base);
  int64_t n_rot = head_dim;
  ASSIGN_OR_RETURN(const double old_part, config.number("partial_rotary_factor", 1.0));
  ASSIGN_OR_RETURN(const double part, config.number(at + "partial_rotary_factor", old_part));
  if (!(part > 0.0 && part <= 1.0))
    return {ErrorCode::corrupt_file, config.file() + ": partial_rotary_factor is " + std::to_string(part)};
  n_rot = static_cast<int64_t>(static_cast<double>(head_dim) * part);
  out.metadata.add(out.key("rope.dimension_count"), n_rot);
  ASSIGN_OR_RETURN(const std::string old_type, config.text(at + "type", "default"));
  ASSIGN_OR_RETURN(const std::string type, config.text(at + "rope_type", old_type));
  if (type == "default") return {};
  if ((type == "longrope" || type == "su") && !out.computed.empty()) return {};  // phi3 has its divisors
  if (type == "llama3") return add_llama3_factors(config, at, base, n_rot, out);
  if (type == "yarn") return add_yarn(config, at, out);
  if (type == "linear") {
    ASSIGN_OR_RETURN(const double factor, config.number(at + "factor"));
    out.metadata.add(out.key("rope.scaling.type"), "linear");
    out.metadata.add(out.key("rope.scaling.factor"), factor);
    return {};
  }
  return {ErrorCode::unsupported_architecture,
          "the RoPE scaling " + nutshell::quoted(type) + " of " + config.file() +
              " is not supported; supported: default, linear, llama3, yarn"};
}

Status add_sliding_window(const HfConfig& config, HfModel& out) {
  if (!config.has("sliding_window")) return {};
  ASSIGN_OR_RETURN(const int64_t window, config.integer("sliding_window"));
  out.metadata.add(out.key("attention.sliding_window"), window);
  const std::string key = out.key("attention.sliding_window_pattern");
  if (config.has("layer_types")) {
    ASSIGN_OR_RETURN(const std::vector<std::string> types, config.texts("layer_types"));
    std::vector<int64_t> flags;
    for (const std::string& type : types) {
      if (type != "sliding_attention" && type != "full_attention")
        return {ErrorCode::unsupported_architecture,
                config.file() + ": layers of the type " + nutshell::quoted(type) + " are not supported here"};
      flags.push_back(type == "sliding_attention");
    }
    out.metadata.add(key, std::span<const int64_t>(flags));
    return {};
  }
  for (const char* name : {"sliding_window_pattern", "_sliding_window_pattern"})
    if (config.has(name)) {
      ASSIGN_OR_RETURN(const int64_t pattern, config.integer(name));
      out.metadata.add(key, pattern);
      return {};
    }
  return {};
}

Status check_attention_scalar(const HfConfig& config, int64_t large_layers) {
  ASSIGN_OR_RETURN(const int64_t n_embd, config.integer("hidden_size"));
  ASSIGN_OR_RETURN(const int64_t n_head, config.integer("num_attention_heads"));
  if (n_head < 1) return {ErrorCode::corrupt_file, config.file() + ": num_attention_heads is not positive"};
  ASSIGN_OR_RETURN(const int64_t n_layer, config.integer("num_hidden_layers"));
  ASSIGN_OR_RETURN(const int64_t head_dim, config.integer("head_dim"));
  const int64_t expected = n_layer == large_layers ? n_embd / n_head : head_dim;
  ASSIGN_OR_RETURN(const int64_t scalar, config.integer("query_pre_attn_scalar", expected));
  if (scalar == expected) return {};
  return {ErrorCode::unsupported_architecture, config.file() + ": query_pre_attn_scalar is " +
                                                   std::to_string(scalar) +
                                                   ", supported for this model: " + std::to_string(expected)};
}

Status refuse_sliding_window(const HfConfig& config, std::string_view key) {
  const nlohmann::json* value = config.find(key);
  if (value == nullptr || (value->is_boolean() && !value->get<bool>())) return {};
  return {ErrorCode::unsupported_architecture,
          config.file() + " asks for a sliding attention window, which this architecture is not built with"};
}

extern const HfDef hf_layers = {.classes = {}, .prefix = "model.", .keys = kKeys, .tensors = kTensors};
extern const HfDef hf_decoder = {.classes = {}, .base = &hf_layers, .translate = &translate};
extern const HfDef hf_gemma = {.classes = {}, .tensors = kGemmaNorms, .base = &hf_decoder};

}  // namespace nutshell
