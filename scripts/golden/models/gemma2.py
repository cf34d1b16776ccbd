"""gemma2: Gemma 2. Soft caps small enough to bend the scores, a window in every second layer."""

from models import gemma3

CONFIG_CLASS, MODEL_CLASS = "Gemma2Config", "Gemma2ForCausalLM"
CONFIG = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "query_pre_attn_scalar": 32, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6, "sliding_window": 24, "tie_word_embeddings": True, "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 5.0, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
VARIANTS = {"window": {}}
layout = gemma3.layout


def metadata(c):
    return {
        "block_count": c.num_hidden_layers, "context_length": c.max_position_embeddings,
        "embedding_length": c.hidden_size, "feed_forward_length": c.intermediate_size,
        "attention.head_count": c.num_attention_heads, "attention.head_count_kv": c.num_key_value_heads,
        "attention.key_length": c.head_dim, "attention.value_length": c.head_dim,
        "attention.layer_norm_rms_epsilon": c.rms_norm_eps, "attention.sliding_window": c.sliding_window,
        "attn_logit_softcapping": c.attn_logit_softcapping, "final_logit_softcapping": c.final_logit_softcapping,
    }
