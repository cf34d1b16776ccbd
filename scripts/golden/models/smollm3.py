"""smollm3: SmolLM 3. Every fourth layer is not rotated."""

from models import llama

CONFIG_CLASS, MODEL_CLASS = "SmolLM3Config", "SmolLM3ForCausalLM"
CONFIG = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "no_rope_layer_interval": 4,
    "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 5000000.0},
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}
VARIANTS = {"tied": {}, "untied": {"tie_word_embeddings": False}}
layout = llama.layout


def metadata(c):
    c.head_dim = c.hidden_size // c.num_attention_heads
    keys = llama.metadata(c)
    return {k: v for k, v in keys.items() if k not in ("attention.key_length", "attention.value_length")}
