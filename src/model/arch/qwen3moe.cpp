// qwen3moe: Qwen 3 with a mixture of experts in every layer. Attention as qwen3; softmax over all experts,
// the chosen ones' weights add up to one.
#include "model/experts.h"
#include "model/layer.h"

namespace nutshell {
namespace {

Result<HParams> read(const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file, Layers::may_vary));
  RETURN_IF_ERROR(read_experts(file, p));
  return p;
}

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  const int32_t rope = g.rope_spec(make_rope(p.rope));
  const ActId x = g.embed(g.table("token_embd.weight", p.n_vocab, p.n_embd));
  for (int64_t il = 0; il < p.n_layer; ++il) {
    const ActId h = g.rms_norm(x, g.vector(block_tensor(il, "attn_norm.weight"), p.n_embd), p.rms_eps);
    add_attention(g, p, {.qk_norm = true}, il, rope, x, h);
    const ActId f = g.rms_norm(x, g.vector(block_tensor(il, "ffn_norm.weight"), p.n_embd), p.rms_eps);
    add_experts(g, p, {.normalize = true}, il, x, f);
  }
  add_head(g, p, x);
}

}  // namespace

extern const ArchDef arch_qwen3moe = {"qwen3moe", &read, {}, &build};

}  // namespace nutshell
