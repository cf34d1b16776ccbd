"""bert: sentence embedding models. Compared is the vector of every token, before pooling."""

CONFIG_CLASS, MODEL_CLASS = "BertConfig", "BertModel"
CONFIG = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
}
VARIANTS = {"mean": {}}
UNUSED = ("pooler.dense.weight", "pooler.dense.bias")


def metadata(c):
    return {
        "block_count": c.num_hidden_layers, "context_length": c.max_position_embeddings,
        "embedding_length": c.hidden_size, "feed_forward_length": c.intermediate_size,
        "attention.head_count": c.num_attention_heads, "attention.layer_norm_epsilon": c.layer_norm_eps,
        "attention.causal": False, "pooling_type": 1, "tokenizer.ggml.token_type_count": c.type_vocab_size,
    }


def run(model, ids):
    return model(input_ids=ids).last_hidden_state


def llama_cpp(reference, ids):
    return reference.embeddings(ids)
