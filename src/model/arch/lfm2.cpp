// lfm2: Liquid AI's LFM2, dense. Layers without key/value heads (head_count_kv is a list) mix positions by a
// gated short convolution, the others by attention as qwen3 does. The norm at the end is called
// token_embd_norm in files.
#include "model/layer.h"

namespace nutshell {
namespace {

Result<HParams> read(const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file, Layers::may_vary));
  const HParamReader r(file, p.architecture);
  RETURN_IF_ERROR(r.integer("shortconv.l_cache", 2, kMaxConvKernel, p.conv_kernel));
  return p;
}

// x += out_proj(conv(in_proj(h)))
void add_conv(GraphBuilder& g, const HParams& p, int64_t il, ActId x, ActId h) {
  const auto name = [il](std::string_view suffix) { return block_tensor(il, suffix); };
  const ActId bcx = g.linear(h, g.matrix(name("shortconv.in_proj.weight"), 3 * p.n_embd, p.n_embd));
  const WeightId kernel = g.values(name("shortconv.conv.weight"), p.n_embd, p.conv_kernel);
  g.add_linear(x, g.short_conv(bcx, kernel, p.n_embd, p.conv_kernel),
               g.matrix(name("shortconv.out_proj.weight"), p.n_embd, p.n_embd));
}

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  const int32_t rope = g.rope_spec(make_rope(p.rope));
  const ActId x = g.embed(g.table("token_embd.weight", p.n_vocab, p.n_embd));
  for (int64_t il = 0; il < p.n_layer; ++il) {
    const ActId h = g.rms_norm(x, g.vector(block_tensor(il, "attn_norm.weight"), p.n_embd), p.rms_eps);
    if (p.n_head_kv_of(il) == 0)
      add_conv(g, p, il, x, h);
    else
      add_attention(g, p, {.qk_norm = true}, il, rope, x, h);
    const ActId f = g.rms_norm(x, g.vector(block_tensor(il, "ffn_norm.weight"), p.n_embd), p.rms_eps);
    add_feed_forward(g, p, {}, il, x, f, p.n_ff);
  }
  add_head(g, p, x, "token_embd_norm.weight");
}

}  // namespace

extern const ArchDef arch_lfm2 = {"lfm2", &read, {}, &build};

}  // namespace nutshell
