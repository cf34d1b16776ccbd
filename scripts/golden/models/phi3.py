"""phi3: Phi 3, 3.5 and 4. Fused q, k, v and gate, up; LongRoPE below and beyond the original context; a window."""

import math

CONFIG_CLASS, MODEL_CLASS = "Phi3Config", "Phi3ForCausalLM"
CONFIG = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "original_max_position_embeddings": 256,
    "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "sliding_window": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}
SHORT, LONG = [1.0, 1.1, 1.2, 1.35, 1.5, 1.7, 2.0, 2.5], [1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0]
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": SHORT, "long_factor": LONG}
VARIANTS = {
    "plain": {},
    "window": {"sliding_window": 24},
    "partial": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.75}},
    # llama.cpp rounds its context up to 256 before it compares.
    "longrope_short": {"original_max_position_embeddings": 256, "max_position_embeddings": 512,
                       "rope_parameters": {**LONGROPE, "original_max_position_embeddings": 256}},
    "longrope_long": {"original_max_position_embeddings": 64,
                      "rope_parameters": {**LONGROPE, "original_max_position_embeddings": 64}},
    "longrope_unnamed": {"original_max_position_embeddings": 64, "unnamed": True,
                         "rope_parameters": {**LONGROPE, "original_max_position_embeddings": 64}},
}
NOT_IN_LLAMA_CPP = {"window": "llama.cpp leaves the window out: held to transformers alone"}


def head_dim(c):
    return c.hidden_size // c.num_attention_heads


def metadata(c):
    rope = c.rope_parameters
    keys = {
        "block_count": c.num_hidden_layers, "context_length": c.max_position_embeddings,
        "rope.scaling.original_context_length": c.original_max_position_embeddings,
        "embedding_length": c.hidden_size, "feed_forward_length": c.intermediate_size,
        "attention.head_count": c.num_attention_heads, "attention.head_count_kv": c.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": c.rms_norm_eps, "attention.sliding_window": c.sliding_window or 0,
        "rope.dimension_count": int(head_dim(c) * rope.get("partial_rotary_factor", 1.0)),
        "rope.freq_base": rope["rope_theta"],
    }
    if rope["rope_type"] == "longrope":
        original = c.original_max_position_embeddings
        if not getattr(c, "unnamed", False):  # llama.cpp's converter for this family leaves the type out
            keys["rope.scaling.type"] = "longrope"
        keys["rope.scaling.attn_factor"] = math.sqrt(
            1 + math.log(c.max_position_embeddings / original) / math.log(original))
    return keys


def given(c):
    if c.rope_parameters["rope_type"] != "longrope":
        return {}
    return {"rope_factors_short.weight": SHORT, "rope_factors_long.weight": LONG}
