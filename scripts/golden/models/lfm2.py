"""lfm2: layers of gated short convolution among those of attention, which alone have key/value heads."""

CONFIG_CLASS, MODEL_CLASS = "Lfm2Config", "Lfm2ForCausalLM"
CONFIG = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "norm_eps": 1e-5, "tie_word_embeddings": True,
    "conv_L_cache": 3, "conv_bias": False, "block_auto_adjust_ff_dim": False,
    "layer_types": ["conv", "full_attention", "conv"],
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
}
VARIANTS = {"three": {}, "four_taps": {"conv_L_cache": 4}}
RULES = {"shortconv.conv": (1.0, 0.0)}


def metadata(c):
    return {
        "block_count": c.num_hidden_layers, "context_length": c.max_position_embeddings,
        "embedding_length": c.hidden_size, "feed_forward_length": c.intermediate_size,
        "attention.head_count": c.num_attention_heads,
        "attention.head_count_kv": [c.num_key_value_heads if t != "conv" else 0 for t in c.layer_types],
        "attention.layer_norm_rms_epsilon": c.norm_eps, "rope.freq_base": c.rope_parameters["rope_theta"],
        "shortconv.l_cache": c.conv_L_cache,
    }


def layout(name, shape, c, names):
    if name.endswith("conv.conv.weight"):
        return [(names.get_name(name, (".weight",)), (shape[0], shape[2]))], lambda a: a[:, None, :]
    return None
