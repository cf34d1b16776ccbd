"""qwen3moe: Qwen 3 with a mixture of experts in every layer; experts are 3-D tensors, gate and up apart."""

import numpy as np

from models import llama

CONFIG_CLASS, MODEL_CLASS = "Qwen3MoeConfig", "Qwen3MoeForCausalLM"
CONFIG = {
    "hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "num_experts": 8, "num_experts_per_tok": 2,
    "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
}
VARIANTS = {"two_of_eight": {}, "four_of_six": {"num_experts": 6, "num_experts_per_tok": 4}}


def metadata(c):
    return {**llama.metadata(c), "expert_count": c.num_experts, "expert_used_count": c.num_experts_per_tok,
            "expert_feed_forward_length": c.moe_intermediate_size}


def gate_and_up(name, n_expert, n_ff, n_embd):
    """Experts' gate_up_proj [n_expert, 2 n_ff, n_embd] as the two tensors of a GGUF file."""
    block = name.split(".")[2]
    shape = (n_expert, n_ff, n_embd)
    return ([(f"blk.{block}.ffn_gate_exps.weight", shape), (f"blk.{block}.ffn_up_exps.weight", shape)],
            lambda gate, up: np.concatenate([gate, up], axis=1))


def layout(name, shape, c, names):
    if name.endswith("experts.gate_up_proj"):
        return gate_and_up(name, shape[0], shape[1] // 2, shape[2])
    if name.endswith("experts.down_proj"):
        return [(f"blk.{name.split('.')[2]}.ffn_down_exps.weight", shape)], lambda down: down
    return None
