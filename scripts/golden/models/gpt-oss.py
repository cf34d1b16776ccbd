"""gpt-oss: sliding windows in every other layer, sinks, biases everywhere, experts whose gate and up alternate by column,
YaRN. The family does not round the range of YaRN's ramp to whole pairs and llama.cpp does: the base is such that both
agree, but for one variant."""

import math

import numpy as np

from models import llama

HEAD, ORIGINAL = 32, 64
# The ramp begins before the first pair and ends at pair 5 (less what keeps rounding up from going on to the sixth).
THETA = math.exp(HEAD / 2 * math.log(ORIGINAL / (2 * math.pi)) / (5 - 1e-6))
YARN = {"rope_type": "yarn", "rope_theta": THETA, "factor": 4.0, "original_max_position_embeddings": ORIGINAL,
        "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}
CONFIG_CLASS, MODEL_CLASS = "GptOssConfig", "GptOssForCausalLM"
CONFIG = {
    "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": HEAD, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False, "num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": 24,
    "layer_types": ["sliding_attention", "full_attention"], "rope_parameters": YARN,
}
VARIANTS = {"yarn": {}, "yarn_between_pairs": {"rope_parameters": {**YARN, "rope_theta": 10000.0}}, "plain_rope": {"rope_parameters": {"rope_type": "default", "rope_theta": THETA}}, "mxfp4": {}}
NOT_IN_LLAMA_CPP = {"yarn_between_pairs": "llama.cpp rounds the range of YaRN's ramp: held to transformers alone"}
MXFP4 = {"mxfp4": ("_exps.weight",)}
RULES = {"attn_sinks": (2.0, 0.0), "exps.bias": (0.2, 0.0)}


def metadata(c):
    return {**llama.metadata(c), "expert_count": c.num_local_experts, "expert_used_count": c.num_experts_per_tok,
            "expert_feed_forward_length": c.intermediate_size, "attention.sliding_window": c.sliding_window}


def alternate(gate, up):
    """gate and up, column by column."""
    return np.stack([gate, up], axis=-1).reshape(*gate.shape[:-1], -1)


def layout(name, shape, c, names):
    if ".layers." not in name:
        return None
    block, n_ff = f"blk.{name.split('.')[2]}.", c.intermediate_size
    if name.endswith("sinks"):
        return [(block + "attn_sinks.weight", shape)], lambda a: a
    if name.endswith("experts.gate_up_proj"):
        part = (shape[0], n_ff, shape[1])
        return ([(block + "ffn_gate_exps.weight", part), (block + "ffn_up_exps.weight", part)],
                lambda gate, up: alternate(gate.swapaxes(1, 2), up.swapaxes(1, 2)))
    if name.endswith("experts.gate_up_proj_bias"):
        part = (shape[0], n_ff)
        return [(block + "ffn_gate_exps.bias", part), (block + "ffn_up_exps.bias", part)], alternate
    if name.endswith("experts.down_proj"):
        return [(block + "ffn_down_exps.weight", (shape[0], shape[2], shape[1]))], lambda a: a.swapaxes(1, 2)
    if name.endswith("experts.down_proj_bias"):
        return [(block + "ffn_down_exps.bias", shape)], lambda a: a
    return None
