"""gemma3: Gemma 3. The window is shorter than the text; the sixth layer has none."""

CONFIG_CLASS, MODEL_CLASS = "Gemma3TextConfig", "Gemma3ForCausalLM"
CONFIG = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "query_pre_attn_scalar": 32, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6, "sliding_window": 24, "tie_word_embeddings": True,
    "rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                        "full_attention": {"rope_type": "default", "rope_theta": 1000000.0}},
}
SCALED = {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
          "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0}}
VARIANTS = {"window": {}, "rope_linear": {"rope_parameters": SCALED, "num_key_value_heads": 1}}


def metadata(c):
    keys = {
        "block_count": c.num_hidden_layers, "context_length": c.max_position_embeddings,
        "embedding_length": c.hidden_size, "feed_forward_length": c.intermediate_size,
        "attention.head_count": c.num_attention_heads, "attention.head_count_kv": c.num_key_value_heads,
        "attention.key_length": c.head_dim, "attention.value_length": c.head_dim,
        "attention.layer_norm_rms_epsilon": c.rms_norm_eps, "attention.sliding_window": c.sliding_window,
        "rope.freq_base": c.rope_parameters["full_attention"]["rope_theta"],
    }
    if c.rope_parameters["full_attention"]["rope_type"] == "linear":
        keys["rope.scaling.type"] = "linear"
        keys["rope.scaling.factor"] = c.rope_parameters["full_attention"]["factor"]
    return keys


def layout(name, shape, c, names):
    """A file holds 1 + weight of every norm."""
    if not name.endswith("norm.weight"):
        return None
    return [(names.get_name(name, (".weight",)), shape)], lambda weight: weight - 1.0
