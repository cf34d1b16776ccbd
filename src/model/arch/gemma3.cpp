// gemma3: Gemma 3. Five layers with a sliding window and a RoPE base of their own, then one that sees all;
// RMSNorms of q and k heads and of what each half of a layer adds; embeddings times sqrt(n_embd); GELU gate.
// The norms' weights already hold the 1 that transformers adds.
#include <cmath>

#include "model/decoder.h"

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

}  // namespace

extern const ArchDef arch_gemma3 = {"gemma3", &read, {}, &build};

}  // namespace nutshell
