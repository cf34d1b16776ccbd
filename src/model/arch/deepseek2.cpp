// deepseek2: DeepSeek V2, V2-Lite, V3, R1. Multi-head latent attention; leading dense layers, then a mixture
// of experts beside shared ones.
//
// Keys and values of all heads come from one latent vector of kv_rank values, and a rotated part that all
// heads share. Files bring the up-projection in one of two forms:
//   attn_k_b, attn_v_b (current converters)  the query is taken into the latent space instead: the cache
//   holds
//                                            the latent vector and the rotated part, one key head for all
//   attn_kv_b (older files)                  keys and values are made for every head
#include <cmath>

#include "model/experts.h"
#include "model/hf/json.h"
#include "model/layer.h"

namespace nutshell {
namespace {

constexpr int64_t kSoftmax = 1, kSigmoid = 2;  // expert_gating_func

// YaRN multiplies the scores by the square of 1 + 0.1 m ln(factor), m = mscale_all_dim of the original, which
// files keep as a tenth; what rotation itself is multiplied with then is mscale / mscale_all_dim = 1.
float attention_scale(const HParams& p, double log_multiplier) {
  double scale = 1.0 / std::sqrt(static_cast<double>(p.mla.head_dim));
  if (p.rope.scaling == RopeScaling::yarn && p.rope.factor > 1.0) {
    const double mscale = 1.0 + log_multiplier * std::log(p.rope.factor);
    scale *= mscale * mscale;
  }
  return static_cast<float>(scale);
}

Result<HParams> read(const GgufFile& file) {
  constexpr int64_t kMaxWidth = 1 << 20;
  ASSIGN_OR_RETURN(HParams p, read_common_hparams(file, Layers::may_vary));
  const HParamReader r(file, p.architecture);
  MlaParams& m = p.mla;
  RETURN_IF_ERROR(r.integer("attention.q_lora_rank", 0, kMaxWidth, m.q_rank, 0));
  RETURN_IF_ERROR(r.integer("attention.kv_lora_rank", 1, kMaxWidth, m.kv_rank));
  RETURN_IF_ERROR(r.integer("attention.key_length_mla", 2, kMaxWidth, m.head_dim, p.head_dim));
  RETURN_IF_ERROR(r.integer("attention.value_length_mla", 1, kMaxWidth, m.head_dim_v, p.head_dim_v));
  if (p.rope.n_rot >= m.head_dim)
    return Status(ErrorCode::corrupt_file, "keys of " + std::to_string(m.head_dim) + " values cannot have " +
                                               std::to_string(p.rope.n_rot) + " rotated ones and others");
  double log_multiplier = 0;
  RETURN_IF_ERROR(r.number(kYarnLogMultiplierKey.data(), 0.0, 100.0, log_multiplier));
  m.attention_scale = attention_scale(p, log_multiplier);
  if (log_multiplier > 0 && p.rope.scaling == RopeScaling::yarn && p.rope.factor > 1.0)
    p.rope.attn_factor /= 1.0 + 0.1 * std::log(p.rope.factor);
  RETURN_IF_ERROR(read_experts(file, p));
  if (p.moe.gating == 0) p.moe.gating = kSoftmax;  // files older than the key
  if (p.moe.gating != kSoftmax && p.moe.gating != kSigmoid)
    return Status(ErrorCode::unsupported_architecture,
                  "the expert gating function " + std::to_string(p.moe.gating) +
                      " is not supported; supported: softmax (1), sigmoid (2)");
  return p;
}

class Layer {
 public:
  Layer(GraphBuilder& g, const HParams& p, int64_t il, int32_t rope)
      : g_(g), p_(p), m_(p.mla), il_(il), rope_(rope) {}

  void build(ActId x) {
    const ActId h = g_.rms_norm(x, g_.vector(name("attn_norm.weight"), p_.n_embd), p_.rms_eps);
    const ActId o = g_.has(name("attn_kv_b.weight")) ? attend_heads(h) : attend_latent(h);
    g_.add_linear(x, o, g_.matrix(name("attn_output.weight"), p_.n_embd, p_.n_head * m_.head_dim_v));
    const ActId f = g_.rms_norm(x, g_.vector(name("ffn_norm.weight"), p_.n_embd), p_.rms_eps);
    if (il_ < p_.moe.n_dense_layers) return add_feed_forward(g_, p_, {}, il_, x, f, p_.n_ff);
    // V3 scores groups of experts by their best two, V2 by the best one.
    const bool v3 = p_.moe.gating == kSigmoid;
    add_experts(g_, p_,
                {.scores = v3 ? Router::Scores::sigmoid : Router::Scores::softmax,
                 .normalize = p_.moe.normalize,
                 .group_best = v3 ? 2 : 1},
                il_, x, f);
    if (p_.moe.n_shared > 0) add_feed_forward(g_, p_, {}, il_, x, f, p_.moe.n_shared * p_.moe.n_ff, "_shexp");
  }

 private:
  std::string name(std::string_view suffix) const { return block_tensor(il_, suffix); }

  // Queries [n_head][nope | rotated part], rotated.
  ActId query(ActId h) {
    const int64_t width = p_.n_head * m_.head_dim;
    ActId q;
    if (m_.q_rank > 0) {
      const ActId a = g_.linear(h, g_.matrix(name("attn_q_a.weight"), m_.q_rank, p_.n_embd));
      const ActId normed = g_.rms_norm(a, g_.vector(name("attn_q_a_norm.weight"), m_.q_rank), p_.rms_eps);
      q = g_.linear(normed, g_.matrix(name("attn_q_b.weight"), width, m_.q_rank));
    } else {
      q = g_.linear(h, g_.matrix(name("attn_q.weight"), width, p_.n_embd));
    }
    g_.rope(q, p_.n_head, m_.head_dim, rope_, RopeStyle::interleaved, nope());
    return q;
  }
  int64_t rot() const { return p_.rope.n_rot; }
  int64_t nope() const { return m_.head_dim - rot(); }

  struct Latent {
    ActId vector, rotated;
  };
  Latent latent(ActId h) {
    const ActId both = g_.linear(h, g_.matrix(name("attn_kv_a_mqa.weight"), m_.kv_rank + rot(), p_.n_embd));
    const ActId part = g_.assemble(m_.kv_rank), rotated = g_.assemble(rot());
    g_.copy_heads({both, part, 1, m_.kv_rank});
    g_.copy_heads({both, rotated, 1, rot(), m_.kv_rank});
    g_.rope(rotated, 1, rot(), rope_, RopeStyle::interleaved);
    return {g_.rms_norm(part, g_.vector(name("attn_kv_a_norm.weight"), m_.kv_rank), p_.rms_eps), rotated};
  }

  ActId attend_latent(ActId h) {
    const ActId q = query(h);
    const Latent kv = latent(h);
    const int64_t key = m_.kv_rank + rot();
    const ActId wide = g_.assemble(p_.n_head * key), k = g_.assemble(key), v = g_.assemble(m_.kv_rank);
    g_.head_linear({q, g_.matrices(name("attn_k_b.weight"), p_.n_head, m_.kv_rank, nope()), wide, p_.n_head,
                    m_.head_dim, key});
    g_.copy_heads({q, wide, p_.n_head, rot(), nope(), m_.head_dim, m_.kv_rank, key});
    g_.copy_heads({kv.vector, k, 1, m_.kv_rank});
    g_.copy_heads({kv.rotated, k, 1, rot(), 0, 0, m_.kv_rank});
    g_.copy_heads({kv.vector, v, 1, m_.kv_rank});
    const ActId o = g_.attend(wide, k, v,
                              {.n_head = p_.n_head,
                               .n_head_kv = 1,
                               .head_dim = key,
                               .scale = m_.attention_scale,
                               .head_dim_v = m_.kv_rank});
    const ActId out = g_.assemble(p_.n_head * m_.head_dim_v);
    g_.head_linear({o, g_.matrices(name("attn_v_b.weight"), p_.n_head, m_.head_dim_v, m_.kv_rank), out,
                    p_.n_head, m_.kv_rank, m_.head_dim_v});
    return out;
  }

  ActId attend_heads(ActId h) {
    const ActId q = query(h);
    const Latent latents = latent(h);
    const int64_t n = p_.n_head, both = nope() + m_.head_dim_v;
    const ActId kv = g_.linear(latents.vector, g_.matrix(name("attn_kv_b.weight"), n * both, m_.kv_rank));
    const ActId k = g_.assemble(n * m_.head_dim), v = g_.assemble(n * m_.head_dim_v);
    g_.copy_heads({kv, k, n, nope(), 0, both, 0, m_.head_dim});
    g_.copy_heads({latents.rotated, k, n, rot(), 0, 0, nope(), m_.head_dim});
    g_.copy_heads({kv, v, n, m_.head_dim_v, nope(), both, 0, m_.head_dim_v});
    return g_.attend(q, k, v,
                     {.n_head = n,
                      .n_head_kv = n,
                      .head_dim = m_.head_dim,
                      .scale = m_.attention_scale,
                      .head_dim_v = m_.head_dim_v});
  }

  GraphBuilder& g_;
  const HParams& p_;
  const MlaParams& m_;
  const int64_t il_;
  const int32_t rope_;
};

void build(GraphBuilder& g, const HParams& p, const HostTensors&) {
  const int32_t rope = g.rope_spec(make_rope(p.rope));
  const ActId x = g.embed(g.table("token_embd.weight", p.n_vocab, p.n_embd));
  for (int64_t il = 0; il < p.n_layer; ++il) Layer(g, p, il, rope).build(x);
  add_head(g, p, x);
}

constexpr std::string_view kV2 = "DeepseekV2ForCausalLM", kV3 = "DeepseekV3ForCausalLM";
constexpr std::string_view kClasses[] = {kV2, kV3};
constexpr HfKey kKeys[] = {
    {"q_lora_rank", "attention.q_lora_rank", false},
    {"kv_lora_rank", "attention.kv_lora_rank"},
    {"v_head_dim", "attention.value_length"},
    {"num_attention_heads", "attention.head_count_kv"},  // keys and values are made for every head
    {"first_k_dense_replace", "leading_dense_block_count", false},
    {"n_routed_experts", "expert_count", false},
    {"num_local_experts", "expert_count", false},  // as transformers 5 writes it
    {"num_experts_per_tok", "expert_used_count"},
    {"n_shared_experts", "expert_shared_count", false},
    {"moe_intermediate_size", "expert_feed_forward_length"},
    {"routed_scaling_factor", "expert_weights_scale", false},
};
constexpr HfTensor kTensors[] = {
    {"layers.{l}.self_attn.q_a_proj.weight", "blk.{l}.attn_q_a.weight"},
    {"layers.{l}.self_attn.q_a_layernorm.weight", "blk.{l}.attn_q_a_norm.weight"},
    {"layers.{l}.self_attn.q_b_proj.weight", "blk.{l}.attn_q_b.weight"},
    {"layers.{l}.self_attn.kv_a_proj_with_mqa.weight", "blk.{l}.attn_kv_a_mqa.weight"},
    {"layers.{l}.self_attn.kv_a_layernorm.weight", "blk.{l}.attn_kv_a_norm.weight"},
    {"layers.{l}.self_attn.kv_b_proj.weight", "blk.{l}.attn_kv_b.weight"},
    {"layers.{l}.mlp.gate.weight", "blk.{l}.ffn_gate_inp.weight"},
    {"layers.{l}.mlp.gate.e_score_correction_bias", "blk.{l}.exp_probs_b.bias"},
    {"layers.{l}.mlp.experts.{e}.gate_proj.weight", "blk.{l}.ffn_gate_exps.weight"},
    {"layers.{l}.mlp.experts.{e}.up_proj.weight", "blk.{l}.ffn_up_exps.weight"},
    {"layers.{l}.mlp.experts.{e}.down_proj.weight", "blk.{l}.ffn_down_exps.weight"},
    {"layers.{l}.mlp.shared_experts.gate_proj.weight", "blk.{l}.ffn_gate_shexp.weight"},
    {"layers.{l}.mlp.shared_experts.up_proj.weight", "blk.{l}.ffn_up_shexp.weight"},
    {"layers.{l}.mlp.shared_experts.down_proj.weight", "blk.{l}.ffn_down_shexp.weight"},
};

// How experts are chosen: V2 by softmax, with groups or without; V3 by sigmoid and groups, whatever
// topk_method says (transformers: DeepseekV3TopkRouter).
Status translate_routing(const HfConfig& config, bool v3, HfModel& out) {
  out.metadata.add(out.key("expert_gating_func"), v3 ? kSigmoid : kSoftmax);
  ASSIGN_OR_RETURN(const bool normalized, config.boolean("norm_topk_prob", v3));
  ASSIGN_OR_RETURN(const std::string method, config.text("topk_method", "greedy"));
  ASSIGN_OR_RETURN(const int64_t every, config.integer("moe_layer_freq", 1));
  const bool known = v3 || method == "greedy" || method == "group_limited_greedy";
  if (!known || every != 1 || (!v3 && normalized))
    return {ErrorCode::unsupported_architecture,
            config.file() + ": experts chosen by " + nutshell::quoted(method) +
                ", only in some layers, or weighed in another way are not supported"};
  if (v3) out.metadata.add(out.key("expert_weights_norm"), normalized);
  if ((!v3 && method == "greedy") || !config.has("n_group")) return {};
  ASSIGN_OR_RETURN(const int64_t groups, config.integer("n_group"));
  ASSIGN_OR_RETURN(const int64_t used, config.integer("topk_group"));
  out.metadata.add(out.key("expert_group_count"), groups);
  out.metadata.add(out.key("expert_group_used_count"), used);
  return {};
}

Status translate(const HfConfig& config, HfModel& out) {
  ASSIGN_OR_RETURN(const std::vector<std::string> classes, config.texts("architectures"));
  const bool v3 = !classes.empty() && classes[0] == kV3;
  RETURN_IF_ERROR(translate_routing(config, v3, out));
  ASSIGN_OR_RETURN(const int64_t nope, config.integer("qk_nope_head_dim"));
  ASSIGN_OR_RETURN(const int64_t rotated, config.integer("qk_rope_head_dim"));
  if (nope < 1 || nope > 1 << 16 || rotated < 1 || rotated > 1 << 16)
    return {ErrorCode::corrupt_file, config.file() + ": the widths of a head are " + std::to_string(nope) +
                                         " and " + std::to_string(rotated)};
  out.metadata.add(out.key("attention.key_length"), nope + rotated);
  ASSIGN_OR_RETURN(const bool pairs, config.boolean("rope_interleave", true));
  const std::string at = hf_rope_path(config, "full_attention");
  ASSIGN_OR_RETURN(const double all, config.number(at + "mscale_all_dim", 0.0));
  ASSIGN_OR_RETURN(const double mscale, config.number(at + "mscale", all));
  if (!pairs || mscale != all)
    return {ErrorCode::unsupported_architecture,
            config.file() + ": rotated halves of a head, or a magnitude of the rotation, are not supported"};
  if (all > 0) out.metadata.add(out.key(kYarnLogMultiplierKey), 0.1 * all);
  return add_hf_rope(config, rotated, out);
}

constexpr HfDef kHf = {.classes = kClasses,
                       .keys = kKeys,
                       .tensors = kTensors,
                       .base = &hf_layers,
                       .activations = kHfSilu,
                       .translate = &translate};

}  // namespace

extern const ArchDef arch_deepseek2 = {"deepseek2", &read, {}, &build, &kHf};

}  // namespace nutshell
