// gpt2: GPT-2. Learned positions, LayerNorm before each half of a layer, q, k and v in one tensor, biases
// everywhere, a feed-forward without gate (GELU by tanh), a tied head.
#include <cmath>

#include "model/arch/arch.h"
#include "model/hf/json.h"

namespace nutshell {
namespace {

Result<HParams> read(const GgufFile& file) {
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file));
  RETURN_IF_ERROR(
      HParamReader(file, p.architecture).number("attention.layer_norm_epsilon", 0.0, 1.0, p.rms_eps));
  if (p.n_head_kv != p.n_head || p.head_dim * p.n_head != p.n_embd)
    return Status(ErrorCode::corrupt_file, "gpt2 with other key heads than query heads");
  return p;
}

void build_layer(GraphBuilder& g, const HParams& p, int64_t il, ActId x) {
  const auto norm = [&](const std::string& name, ActId in) {
    return g.layer_norm(in, g.vector(block_tensor(il, name + ".weight"), p.n_embd),
                        g.vector(block_tensor(il, name + ".bias"), p.n_embd), p.rms_eps);
  };
  const std::string qkv = block_tensor(il, "attn_qkv.weight"), qkv_bias = block_tensor(il, "attn_qkv.bias");
  const int64_t n = p.n_embd;
  const auto part = [&](int64_t i) {
    return GraphBuilder::Product{g.matrix_rows(qkv, 3 * n, i * n, n, n),
                                 g.vector_part(qkv_bias, 3 * n, i * n, n)};
  };
  const auto add = [&](const std::string& name, ActId what, int64_t n_in) {
    g.add_linear(x, what, g.matrix(block_tensor(il, name + ".weight"), n, n_in),
                 g.vector(block_tensor(il, name + ".bias"), n));
  };
  const auto heads = g.linears(norm("attn_norm", x), {part(0), part(1), part(2)});
  const float scale = 1.0f / std::sqrt(static_cast<float>(p.head_dim));
  add("attn_output", g.attend(heads[0], heads[1], heads[2], {p.n_head, p.n_head_kv, p.head_dim, scale}), n);
  const ActId up = g.linear(norm("ffn_norm", x), g.matrix(block_tensor(il, "ffn_up.weight"), p.n_ff, n),
                            g.vector(block_tensor(il, "ffn_up.bias"), p.n_ff));
  add("ffn_down", g.activate(up, Activation::gelu_tanh), p.n_ff);
}

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  const ActId x = g.embed(g.table("token_embd.weight", p.n_vocab, p.n_embd));
  g.embed_positions(x, g.table("position_embd.weight", p.n_ctx_train, p.n_embd));
  for (int64_t il = 0; il < p.n_layer; ++il) build_layer(g, p, il, x);
  const ActId last = g.layer_norm(g.select_outputs(x), g.vector("output_norm.weight", p.n_embd),
                                  g.vector("output_norm.bias", p.n_embd), p.rms_eps);
  const std::string head = g.has("output.weight") ? "output.weight" : "token_embd.weight";
  g.logits(g.linear(last, g.matrix(head, p.n_vocab, p.n_embd)));
}

constexpr std::string_view kClasses[] = {"GPT2LMHeadModel"};
constexpr std::string_view kActivations[] = {"gelu_new"};
constexpr HfKey kKeys[] = {
    {"n_embd", "embedding_length"},
    {"n_layer", "block_count"},
    {"n_inner", "feed_forward_length", false},
    {"n_head", "attention.head_count"},
    {"n_positions", "context_length"},
    {"layer_norm_epsilon", "attention.layer_norm_epsilon"},
};
// Its matrices are stored [n_in, n_out].
constexpr HfTensor kTensors[] = {
    {"wte.weight", "token_embd.weight"},
    {"wpe.weight", "position_embd.weight"},
    {"ln_f.weight", "output_norm.weight"},
    {"ln_f.bias", "output_norm.bias"},
    {"lm_head.weight", "output.weight"},
    {"h.{l}.ln_1.weight", "blk.{l}.attn_norm.weight"},
    {"h.{l}.ln_1.bias", "blk.{l}.attn_norm.bias"},
    {"h.{l}.attn.c_attn.weight", "blk.{l}.attn_qkv.weight", TensorTransform::transposed},
    {"h.{l}.attn.c_attn.bias", "blk.{l}.attn_qkv.bias"},
    {"h.{l}.attn.c_proj.weight", "blk.{l}.attn_output.weight", TensorTransform::transposed},
    {"h.{l}.attn.c_proj.bias", "blk.{l}.attn_output.bias"},
    {"h.{l}.ln_2.weight", "blk.{l}.ffn_norm.weight"},
    {"h.{l}.ln_2.bias", "blk.{l}.ffn_norm.bias"},
    {"h.{l}.mlp.c_fc.weight", "blk.{l}.ffn_up.weight", TensorTransform::transposed},
    {"h.{l}.mlp.c_fc.bias", "blk.{l}.ffn_up.bias"},
    {"h.{l}.mlp.c_proj.weight", "blk.{l}.ffn_down.weight", TensorTransform::transposed},
    {"h.{l}.mlp.c_proj.bias", "blk.{l}.ffn_down.bias"},
    {"h.{l}.attn.bias", ""},  // the causal mask
    {"h.{l}.attn.masked_bias", ""},
};

Status translate(const HfConfig& config, HfModel& out) {
  const std::string n_ff = out.key("feed_forward_length");
  if (!out.metadata.has(n_ff)) {
    ASSIGN_OR_RETURN(const int64_t n_embd, config.integer("n_embd"));
    if (n_embd < 1 || n_embd > 1 << 20)
      return {ErrorCode::corrupt_file, config.file() + ": n_embd is " + std::to_string(n_embd)};
    out.metadata.add(n_ff, 4 * n_embd);
  }
  ASSIGN_OR_RETURN(const bool scaled, config.boolean("scale_attn_weights", true));
  ASSIGN_OR_RETURN(const bool by_layer, config.boolean("scale_attn_by_inverse_layer_idx", false));
  if (scaled && !by_layer) return {};
  return {ErrorCode::unsupported_architecture,
          config.file() + ": scores that are not scaled by the head's width alone are not supported"};
}

constexpr HfDef kHf = {.classes = kClasses,
                       .prefix = "transformer.",
                       .keys = kKeys,
                       .tensors = kTensors,
                       .activations = kActivations,
                       .tied = true,
                       .translate = &translate};

}  // namespace

extern const ArchDef arch_gpt2 = {"gpt2", &read, {}, &build, &kHf};

}  // namespace nutshell
