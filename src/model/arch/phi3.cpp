// phi3: Phi 3, 3.5 and 4 (not the mixtures). As llama with q, k, v and gate, up in one tensor each; part of a
// head may be rotated; LongRoPE. The window, where a file has one, is that of every layer.
#include <cmath>

#include "model/decoder.h"
#include "model/hf/json.h"

namespace nutshell {
namespace {

Result<HParams> read(const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file));
  const HParamReader r(file, p.architecture);
  RETURN_IF_ERROR(r.window(0, 1, p));
  if (p.window > 0) p.windowed.assign(static_cast<size_t>(p.n_layer), true);
  return p;
}

void build(GraphBuilder& g, const HParams& p, const HostTensors& host) {
  build_decoder(g, p, {.layer = {.fused = true}}, make_rope(p.rope, rope_divisors(g, p, host)));
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
  ASSIGN_OR_RETURN(out.computed[std::string(kRopeShort)], config.numbers(at + "short_factor"));
  ASSIGN_OR_RETURN(out.computed[std::string(kRopeLong)], config.numbers(at + "long_factor"));
  ASSIGN_OR_RETURN(const double context, config.number("max_position_embeddings"));
  ASSIGN_OR_RETURN(const double in_rope, config.number(at + "original_max_position_embeddings", context));
  ASSIGN_OR_RETURN(const double trained, config.number("original_max_position_embeddings", in_rope));
  if (!(trained > 1 && context > 1))
    return {ErrorCode::corrupt_file, config.file() + ": a context of " + std::to_string(trained) + " tokens"};
  out.metadata.add(out.key("rope.scaling.type"), "longrope");
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

extern const ArchDef arch_phi3 = {"phi3", &read, kRopeTensors, &build, &kHf};

}  // namespace nutshell
