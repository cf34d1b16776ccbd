"""qwen2: Qwen 2 and 2.5, DeepSeek-R1-Distill-Qwen. Biases on q, k and v; halves of a head are rotated together."""

from models import llama

CONFIG_CLASS, MODEL_CLASS = "Qwen2Config", "Qwen2ForCausalLM"
CONFIG = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
}
VARIANTS = {"tied": {}, "untied": {"tie_word_embeddings": False}}


def metadata(c):
    c.head_dim = c.hidden_size // c.num_attention_heads
    keys = llama.metadata(c)
    return {k: v for k, v in keys.items() if k not in ("attention.key_length", "attention.value_length")}
