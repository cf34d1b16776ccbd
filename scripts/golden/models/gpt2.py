"""gpt2: GPT-2. transformers keeps its matrices the other way round."""

import numpy as np

CONFIG_CLASS, MODEL_CLASS = "GPT2Config", "GPT2LMHeadModel"
CONFIG = {
    "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "layer_norm_epsilon": 1e-5,
    "activation_function": "gelu_new", "tie_word_embeddings": True,
}
VARIANTS = {"tied": {}}


def metadata(c):
    return {
        "block_count": c.n_layer, "context_length": c.n_positions, "embedding_length": c.n_embd,
        "feed_forward_length": 4 * c.n_embd, "attention.head_count": c.n_head,
        "attention.layer_norm_epsilon": c.layer_norm_epsilon,
    }


def layout(name, shape, c, names):
    if not name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
        return None
    return [(names.get_name(name, (".weight",)), shape[::-1])], np.transpose
