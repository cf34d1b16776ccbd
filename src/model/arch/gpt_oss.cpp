// gpt-oss: OpenAI's gpt-oss. Every other layer sees a sliding window (the first one does); attention has
// biases and a sink per head; a mixture of experts with biases and a clamped gate in every layer, its
// router's softmax over the chosen ones; YaRN. The published weights of the experts are MXFP4.
#include "model/experts.h"
#include "model/layer.h"

namespace nutshell {
namespace {

constexpr int64_t kWindowPattern = 2;

Result<HParams> read(const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file, Layers::may_vary));
  const HParamReader r(file, p.architecture);
  RETURN_IF_ERROR(r.window(0, kWindowPattern, p));
  RETURN_IF_ERROR(read_experts(file, p));
  p.rope.whole_pairs = false;  // as the family was trained; files do not say it
  return p;
}

constexpr ExpertsTraits kExperts = {.activation = Activation::swiglu_clamped,
                                    .scores = Router::Scores::softmax_of_chosen};

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  const int32_t rope = g.rope_spec(make_rope(p.rope));
  const ActId x = g.embed(g.table("token_embd.weight", p.n_vocab, p.n_embd));
  for (int64_t il = 0; il < p.n_layer; ++il) {
    const ActId h = g.rms_norm(x, g.vector(block_tensor(il, "attn_norm.weight"), p.n_embd), p.rms_eps);
    add_attention(g, p, {.sinks = true}, il, rope, x, h);
    const ActId f =
        g.rms_norm(x, g.vector(block_tensor(il, "post_attention_norm.weight"), p.n_embd), p.rms_eps);
    add_experts(g, p, kExperts, il, x, f);
  }
  add_head(g, p, x);
}

}  // namespace

extern const ArchDef arch_gpt_oss = {"gpt-oss", &read, {}, &build};

}  // namespace nutshell
