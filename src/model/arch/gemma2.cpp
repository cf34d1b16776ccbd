// gemma2: Gemma 2. Every second layer has a sliding window; attention scores and logits are soft-capped;
// RMSNorms of what each half of a layer adds; embeddings times sqrt(n_embd); GELU gate.
#include <cmath>

#include "model/decoder.h"

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

}  // namespace

extern const ArchDef arch_gemma2 = {"gemma2", &read, {}, &build};

}  // namespace nutshell
