"""qwen3: Qwen 3, dense. No biases; an RMSNorm of every query and key head before rotation."""

from models import llama

CONFIG_CLASS, MODEL_CLASS = "Qwen3Config", "Qwen3ForCausalLM"
CONFIG = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 256, "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
}
VARIANTS = {"tied": {}, "untied": {"tie_word_embeddings": False}}


def metadata(c):
    return llama.metadata(c)
