"""deepseek2: DeepSeek V2 and V3. Latent attention with the up-projection cut into attn_k_b (transposed) and attn_v_b, or,
as older files have it, whole; one leading dense layer; shared experts beside routed ones; experts' gate and up in one tensor
as converters may write them (`fused_experts`)."""

import numpy as np

from models import qwen3moe

CONFIG_CLASS, MODEL_CLASS = "DeepseekV2Config", "DeepseekV2ForCausalLM"
CONFIG = {
    "hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 48, "kv_lora_rank": 32, "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16, "v_head_dim": 16, "head_dim": 16, "n_routed_experts": 8, "num_experts_per_tok": 2,
    "n_shared_experts": 2, "first_k_dense_replace": 1, "routed_scaling_factor": 1.5, "topk_method": "greedy",
    "norm_topk_prob": False, "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64,
        "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0}
V3 = {"n_group": 4, "topk_group": 2, "num_experts_per_tok": 3, "n_routed_experts": 16, "norm_topk_prob": True,
      "routed_scaling_factor": 2.5, "rope_interleave": True}
VARIANTS = {"v2": {}, "v2_whole_up_projection": {"whole_kv_b": True}, "v2_fused_experts": {"fused_experts": True},
            "v3": V3, "v3_yarn": {**V3, "rope_parameters": YARN}}
CLASSES = {name: ("DeepseekV3Config", "DeepseekV3ForCausalLM") for name in ("v3", "v3_yarn")}
BUFFERS = ("e_score_correction_bias",)
RULES = {"exp_probs_b": (0.1, 0.0)}


def whole(c):
    return getattr(c, "whole_kv_b", False)


def metadata(c):
    rot, rank = c.qk_rope_head_dim, c.kv_lora_rank
    keys = {
        "block_count": c.num_hidden_layers, "context_length": c.max_position_embeddings,
        "embedding_length": c.hidden_size, "feed_forward_length": c.intermediate_size,
        "attention.head_count": c.num_attention_heads,
        "attention.head_count_kv": c.num_attention_heads if whole(c) else 1,
        "attention.key_length": c.qk_nope_head_dim + rot if whole(c) else rank + rot,
        "attention.value_length": c.v_head_dim if whole(c) else rank,
        "attention.layer_norm_rms_epsilon": c.rms_norm_eps, "attention.q_lora_rank": c.q_lora_rank,
        "attention.kv_lora_rank": rank, "rope.dimension_count": rot, "rope.freq_base": c.rope_parameters["rope_theta"],
        "leading_dense_block_count": c.first_k_dense_replace, "expert_count": c.n_routed_experts,
        "expert_used_count": c.num_experts_per_tok, "expert_shared_count": c.n_shared_experts,
        "expert_feed_forward_length": c.moe_intermediate_size, "expert_weights_scale": c.routed_scaling_factor,
    }
    if not whole(c):
        keys["attention.key_length_mla"] = c.qk_nope_head_dim + rot
        keys["attention.value_length_mla"] = c.v_head_dim
    if type(c).__name__ == "DeepseekV3Config":
        keys |= {"expert_gating_func": 2, "expert_weights_norm": True, "expert_group_count": c.n_group,
                 "expert_group_used_count": c.topk_group}
    else:
        keys["expert_gating_func"] = 1
    if c.rope_parameters["rope_type"] == "yarn":
        keys |= {"rope.scaling.type": "yarn", "rope.scaling.factor": c.rope_parameters["factor"],
                 "rope.scaling.original_context_length": c.rope_parameters["original_max_position_embeddings"],
                 "rope.scaling.yarn_log_multiplier": 0.1 * c.rope_parameters["mscale_all_dim"]}
    return keys


def layout(name, shape, c, names):
    if name.endswith("e_score_correction_bias"):
        return [(f"blk.{name.split('.')[2]}.exp_probs_b.bias", shape)], lambda a: a
    if name.endswith("experts.gate_up_proj") and getattr(c, "fused_experts", False):
        return [(f"blk.{name.split('.')[2]}.ffn_gate_up_exps.weight", shape)], lambda a: a
    if not name.endswith("kv_b_proj.weight") or whole(c):
        return qwen3moe.layout(name, shape, c, names)
    block, n = f"blk.{name.split('.')[2]}.", c.num_attention_heads

    def join(k_b, v_b):
        return np.concatenate([k_b.swapaxes(1, 2), v_b], axis=1).reshape(shape)

    return [(block + "attn_k_b.weight", (n, c.kv_lora_rank, c.qk_nope_head_dim)),
            (block + "attn_v_b.weight", (n, c.v_head_dim, c.kv_lora_rank))], join
