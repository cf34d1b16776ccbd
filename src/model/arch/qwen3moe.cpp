// qwen3moe: Qwen 3 with a mixture of experts in every layer. Attention as qwen3; softmax over all experts,
// the chosen ones' weights add up to one.
#include "model/experts.h"
#include "model/hf/json.h"
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

constexpr std::string_view kClasses[] = {"Qwen3MoeForCausalLM"};
constexpr HfKey kKeys[] = {
    {"num_experts", "expert_count", false},
    {"num_local_experts", "expert_count", false},  // as transformers 5 writes it
    {"num_experts_per_tok", "expert_used_count"},
    {"moe_intermediate_size", "expert_feed_forward_length"},
};
constexpr HfTensor kTensors[] = {
    {"layers.{l}.self_attn.q_norm.weight", "blk.{l}.attn_q_norm.weight"},
    {"layers.{l}.self_attn.k_norm.weight", "blk.{l}.attn_k_norm.weight"},
    {"layers.{l}.mlp.gate.weight", "blk.{l}.ffn_gate_inp.weight"},
    {"layers.{l}.mlp.experts.{e}.gate_proj.weight", "blk.{l}.ffn_gate_exps.weight"},
    {"layers.{l}.mlp.experts.{e}.up_proj.weight", "blk.{l}.ffn_up_exps.weight"},
    {"layers.{l}.mlp.experts.{e}.down_proj.weight", "blk.{l}.ffn_down_exps.weight"},
};

Status translate(const HfConfig& config, HfModel&) {
  ASSIGN_OR_RETURN(const bool normalized, config.boolean("norm_topk_prob", false));
  ASSIGN_OR_RETURN(const int64_t step, config.integer("decoder_sparse_step", 1));
  ASSIGN_OR_RETURN(const std::vector<float> dense,
                   config.has("mlp_only_layers") ? config.numbers("mlp_only_layers") : std::vector<float>());
  if (!normalized || step != 1 || !dense.empty())
    return {ErrorCode::unsupported_architecture,
            config.file() +
                ": dense layers among those with experts, and weights of experts that do not add "
                "up to one, are not supported"};
  return refuse_sliding_window(config, "use_sliding_window");
}

constexpr HfDef kHf = {.classes = kClasses,
                       .keys = kKeys,
                       .tensors = kTensors,
                       .base = &hf_decoder,
                       .activations = kHfSilu,
                       .translate = &translate};

}  // namespace

extern const ArchDef arch_qwen3moe = {"qwen3moe", &read, {}, &build, &kHf};

}  // namespace nutshell
