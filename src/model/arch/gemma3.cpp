// gemma3: Gemma 3. Five layers with a sliding window and a RoPE base of their own, then one that sees all;
// RMSNorms of q and k heads and of what each half of a layer adds; embeddings times sqrt(n_embd); GELU gate.
// The norms' weights already hold the 1 that transformers adds.
#include <cmath>

#include "model/decoder.h"
#include "model/hf/json.h"

namespace nutshell {
namespace {

constexpr int64_t kWindowPattern = 6;
constexpr int64_t kLayers27B = 62;  // the one size that scales scores by its width per head

Result<HParams> read(const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file));
  const HParamReader r(file, p.architecture);
  RETURN_IF_ERROR(r.window(0, kWindowPattern, p));
  p.rope_freq_base_local = 10000.0;
  RETURN_IF_ERROR(r.number("rope.freq_base_swa", 1.0, 1e12, p.rope_freq_base_local));
  RETURN_IF_ERROR(r.number("final_logit_softcapping", 0.0, 1e6, p.final_softcap));
  return p;
}

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  DecoderTraits traits{.layer = {.activation = Activation::gelu_tanh, .qk_norm = true, .post_norms = true}};
  traits.embed_scale = std::sqrt(static_cast<float>(p.n_embd));
  if (p.n_layer == kLayers27B)
    traits.layer.attention_scale = 1.0f / std::sqrt(static_cast<float>(p.n_embd / p.n_head));
  RopeParams local;  // scaling is for the layers that see all
  local.n_rot = p.rope.n_rot;
  local.freq_base = p.rope_freq_base_local;
  build_decoder(g, p, traits, make_rope(p.rope), make_rope(local));
}

constexpr std::string_view kClasses[] = {"Gemma3ForCausalLM"};
constexpr HfKey kKeys[] = {{"final_logit_softcapping", "final_logit_softcapping", false}};
constexpr HfTensor kTensors[] = {
    {"layers.{l}.self_attn.q_norm.weight", "blk.{l}.attn_q_norm.weight", TensorTransform::plus_one},
    {"layers.{l}.self_attn.k_norm.weight", "blk.{l}.attn_k_norm.weight", TensorTransform::plus_one},
};

Status translate(const HfConfig& config, HfModel& out) {
  RETURN_IF_ERROR(check_attention_scalar(config, kLayers27B));
  ASSIGN_OR_RETURN(const bool sees_later, config.boolean("use_bidirectional_attention", false));
  if (sees_later || config.has("attn_logit_softcapping"))
    return {ErrorCode::unsupported_architecture,
            config.file() + ": Gemma 3 with attention in both directions or capped scores is not supported"};
  ASSIGN_OR_RETURN(const double old_base, config.number("rope_local_base_freq", 10000.0));
  const std::string at = hf_rope_path(config, "sliding_attention");
  ASSIGN_OR_RETURN(const double base, config.number(at + "rope_theta", old_base));
  out.metadata.add(out.key("rope.freq_base_swa"), base);
  return add_sliding_window(config, out);
}

constexpr HfDef kHf = {.classes = kClasses,
                       .keys = kKeys,
                       .tensors = kTensors,
                       .base = &hf_gemma,
                       .activations = kHfGeluTanh,
                       .tied = true,
                       .translate = &translate};

}  // namespace

extern const ArchDef arch_gemma3 = {"gemma3", &read, {}, &build, &kHf};

}  // namespace nutshell
