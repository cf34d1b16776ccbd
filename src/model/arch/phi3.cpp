// phi3: Phi 3, 3.5 and 4 (not the mixtures). As llama with q, k, v and gate, up in one tensor each; part of a
// head may be rotated; LongRoPE's divisors come in two tensors, for contexts up to the original one and
// beyond (arXiv 2402.13753). The window, where a file has one, is that of every layer.
#include <cmath>

#include "model/decoder.h"
#include "model/hf/json.h"

namespace nutshell {
namespace {

constexpr std::string_view kShort = "rope_factors_short.weight", kLong = "rope_factors_long.weight";
constexpr std::string_view kHostTensors[] = {kShort, kLong};

Result<HParams> read(const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file));
  const HParamReader r(file, p.architecture);
  RETURN_IF_ERROR(r.window(0, 1, p));
  if (p.window > 0) p.windowed.assign(static_cast<size_t>(p.n_layer), true);
  return p;
}

void build(GraphBuilder& g, const HParams& p, const HostTensors& host) {
  const bool is_long = static_cast<double>(p.n_ctx) > p.rope.n_ctx_orig;
  const auto factors = host.find(std::string(is_long ? kLong : kShort));
  const std::span<const float> divisors = factors == host.end() ? std::span<const float>{} : factors->second;
  DecoderTraits traits{.rope_style = RopeStyle::half};
  traits.fused = true;
  build_decoder(g, p, traits, make_rope(p.rope, divisors));
}

constexpr std::string_view kClasses[] = {"Phi3ForCausalLM"};
constexpr HfKey kKeys[] = {
    {"sliding_window", "attention.sliding_window", false},
    {"original_max_position_embeddings", "rope.scaling.original_context_length", false},
    {"rope_parameters.original_max_position_embeddings", "rope.scaling.original_context_length", false},
};
constexpr HfTensor kTensors[] = {
    {"layers.{l}.self_attn.qkv_proj.weight", "blk.{l}.attn_qkv.weight"},
    {"layers.{l}.mlp.gate_up_proj.weight", "blk.{l}.ffn_up.weight"},
};

// LongRoPE: the divisors, and what it multiplies rotated values by (transformers:
// _compute_longrope_parameters).
Status translate(const HfConfig& config, HfModel& out) {
  const std::string at = hf_rope_path(config, "full_attention");
  ASSIGN_OR_RETURN(const std::string old_type, config.text(at + "type", "default"));
  ASSIGN_OR_RETURN(const std::string type, config.text(at + "rope_type", old_type));
  if (type != "longrope" && type != "su") return {};
  for (const char* key : {"attention_factor", "short_mscale", "long_mscale", "factor"})
    if (config.has(at + key))
      return {ErrorCode::unsupported_architecture,
              config.file() + ": LongRoPE with " + nutshell::quoted(key) + " is not supported in a folder"};
  ASSIGN_OR_RETURN(out.computed[std::string(kShort)], config.numbers(at + "short_factor"));
  ASSIGN_OR_RETURN(out.computed[std::string(kLong)], config.numbers(at + "long_factor"));
  ASSIGN_OR_RETURN(const double context, config.number("max_position_embeddings"));
  ASSIGN_OR_RETURN(const double in_rope, config.number(at + "original_max_position_embeddings", context));
  ASSIGN_OR_RETURN(const double trained, config.number("original_max_position_embeddings", in_rope));
  if (!(trained > 1 && context > 1))
    return {ErrorCode::corrupt_file, config.file() + ": a context of " + std::to_string(trained) + " tokens"};
  if (context > trained)
    out.metadata.add(out.key("rope.scaling.attn_factor"),
                     std::sqrt(1.0 + std::log(context / trained) / std::log(trained)));
  return {};
}

constexpr HfDef kHf = {.classes = kClasses,
                       .keys = kKeys,
                       .tensors = kTensors,
                       .base = &hf_decoder,
                       .activations = kHfSilu,
                       .translate = &translate};

}  // namespace

extern const ArchDef arch_phi3 = {"phi3", &read, kHostTensors, &build, &kHf};

}  // namespace nutshell
