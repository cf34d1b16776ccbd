"""llama: Llama 1-3, Mistral, SmolLM. GGUF permutes the rows of q and k so that neighbours are rotated together."""

import math

import numpy as np

CONFIG_CLASS, MODEL_CLASS = "LlamaConfig", "LlamaForCausalLM"
CONFIG = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
VARIANTS = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "no_grouping": {"num_key_value_heads": 4},
    "wide_head": {"head_dim": 32, "num_key_value_heads": 1},
    "rope_linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
    "rope_factors": {"rope_parameters": LLAMA3},
    "rope_yarn": {"rope_parameters": YARN},
}


def metadata(c):
    """Keys without the architecture's prefix."""
    rope = c.rope_parameters
    keys = {
        "block_count": c.num_hidden_layers, "context_length": c.max_position_embeddings,
        "embedding_length": c.hidden_size, "feed_forward_length": c.intermediate_size,
        "attention.head_count": c.num_attention_heads, "attention.head_count_kv": c.num_key_value_heads,
        "attention.key_length": c.head_dim, "attention.value_length": c.head_dim,
        "attention.layer_norm_rms_epsilon": c.rms_norm_eps,
        "rope.dimension_count": c.head_dim, "rope.freq_base": rope["rope_theta"],
    }
    if rope["rope_type"] in ("linear", "yarn"):
        keys["rope.scaling.type"] = rope["rope_type"]
        keys["rope.scaling.factor"] = rope["factor"]
    if rope["rope_type"] == "yarn":
        keys["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
    return keys


def given(c):
    """Llama 3's rule gives a divisor per frequency, which the file holds as a tensor."""
    rope = c.rope_parameters
    if rope["rope_type"] != "llama3":
        return {}
    wavelength = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, c.head_dim, 2) / c.head_dim)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] / wavelength
    smooth = (turns - low) / (high - low)
    mixed = 1 / ((1 - smooth) / rope["factor"] + smooth)
    return {"rope_freqs.weight": np.where(turns > high, 1.0, np.where(turns < low, rope["factor"], mixed))}


def unpermuted(rows, n_head):
    """The rows of a GGUF q or k in the order of transformers: first all even, then all odd ones of a head."""
    pairs = rows.reshape(n_head, -1, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def layout(name, shape, c, names):
    """What differs from one tensor of the same shape: the permutation of q and k."""
    if ".q_proj." not in name and ".k_proj." not in name:
        return None
    n_head = c.num_attention_heads if ".q_proj." in name else c.num_key_value_heads
    return [(names.get_name(name, (".weight", ".bias")), shape)], lambda rows: unpermuted(rows, n_head)
