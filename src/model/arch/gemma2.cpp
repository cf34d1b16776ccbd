// gemma2: Gemma 2. Every second layer has a sliding window; attention scores and logits are soft-capped;
// RMSNorms of what each half of a layer adds; embeddings times sqrt(n_embd); GELU gate.
#include <cmath>

#include "model/decoder.h"
#include "model/hf/json.h"

namespace nutshell {
namespace {

constexpr int64_t kWindow = 4096, kWindowPattern = 2;
constexpr int64_t kLayers27B = 46;  // the one size that scales scores by its width per head

Result<HParams> read(const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file));
  const HParamReader r(file, p.architecture);
  RETURN_IF_ERROR(r.window(kWindow, kWindowPattern, p));
  p.attn_softcap = 50.0f;
  p.final_softcap = 30.0f;
  RETURN_IF_ERROR(r.number("attn_logit_softcapping", 0.0, 1e6, p.attn_softcap));
  RETURN_IF_ERROR(r.number("final_logit_softcapping", 0.0, 1e6, p.final_softcap));
  return p;
}

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  DecoderTraits traits{.layer = {.activation = Activation::gelu_tanh, .post_norms = true}};
  traits.embed_scale = std::sqrt(static_cast<float>(p.n_embd));
  if (p.n_layer == kLayers27B)
    traits.layer.attention_scale = 1.0f / std::sqrt(static_cast<float>(p.n_embd / p.n_head));
  build_decoder(g, p, traits, make_rope(p.rope));
}

constexpr std::string_view kClasses[] = {"Gemma2ForCausalLM"};
constexpr HfKey kKeys[] = {
    {"attn_logit_softcapping", "attn_logit_softcapping"},
    {"final_logit_softcapping", "final_logit_softcapping"},
};

Status translate(const HfConfig& config, HfModel& out) {
  RETURN_IF_ERROR(check_attention_scalar(config, kLayers27B));
  return add_sliding_window(config, out);
}

constexpr HfDef kHf = {.classes = kClasses,
                       .keys = kKeys,
                       .base = &hf_gemma,
                       .activations = kHfGeluTanh,
                       .tied = true,
                       .translate = &translate};

}  // namespace

extern const ArchDef arch_gemma2 = {"gemma2", &read, {}, &build, &kHf};

}  // namespace nutshell
