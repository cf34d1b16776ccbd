"""Writes a GGUF model of the llama architecture as ONNX for transformers.js: OUT/config.json and OUT/onnx/model_quantized.onnx.

scripts/bench/onnx starts it. The graph is modelled on what the builder of onnxruntime-genai makes for the CPU (grouped-query
attention with rotation inside, fused skip norms, logits of the last token only), then onnxruntime's dynamic 8-bit
quantisation of MatMul and Gather: what `dtype: 'q8'` of transformers.js usually is. Made here from the weights themselves, so
that no training framework is needed. Other architectures are refused.
"""
import json
import pathlib
import sys

import gguf
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

MICROSOFT = "com.microsoft"


class Source:
    """Hyperparameters and float weights of the GGUF file."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.tensors = {tensor.name: tensor for tensor in self.reader.tensors}
        if self.field("general.architecture") != "llama":
            sys.exit(f"only the llama architecture can be exported, not {self.field('general.architecture')}")
        self.layers = self.field("llama.block_count")
        self.heads = self.field("llama.attention.head_count")
        self.heads_kv = self.field("llama.attention.head_count_kv", self.heads)
        self.embd = self.field("llama.embedding_length")
        self.head_dim = self.embd // self.heads
        self.ff = self.field("llama.feed_forward_length")
        self.epsilon = self.field("llama.attention.layer_norm_rms_epsilon")
        self.theta = self.field("llama.rope.freq_base", 10000.0)
        self.vocab = len(self.weight("token_embd"))

    def field(self, name, default=None):
        found = self.reader.get_field(name)
        if found is None and default is None:
            sys.exit(f"the file has no {name}")
        return default if found is None else found.contents()

    def weight(self, name):
        """[rows, columns] f32."""
        tensor = self.tensors[f"{name}.weight"]
        return gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)

    def rotated(self, name, heads):
        """Weights of queries or keys: GGUF keeps the two halves of a head interleaved, the graph wants them side by side."""
        weight = self.weight(name)
        return weight.reshape(heads, self.head_dim // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


class Graph:
    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind, inputs, outputs, domain="", **attributes):
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def matmul(self, value, name, weight):
        return self.node("MatMul", [value, self.constant(f"{name}.weight", weight.T)], [name])


def rope_tables(source, positions):
    frequencies = source.theta ** (-np.arange(0, source.head_dim, 2, dtype=np.float64) / source.head_dim)
    angles = np.outer(np.arange(positions), frequencies)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def attention(graph, source, i, value):
    blk, past, present = f"blk.{i}", f"past_key_values.{i}", f"present.{i}"
    query = graph.matmul(value, f"{blk}.q", source.rotated(f"{blk}.attn_q", source.heads))
    key = graph.matmul(value, f"{blk}.k", source.rotated(f"{blk}.attn_k", source.heads_kv))
    values = graph.matmul(value, f"{blk}.v", source.weight(f"{blk}.attn_v"))
    inputs = [query, key, values, f"{past}.key", f"{past}.value", "seqlens_k", "total_length", "cos", "sin"]
    mixed = graph.node("GroupQueryAttention", inputs, [f"{blk}.attn", f"{present}.key", f"{present}.value"], MICROSOFT,
                       num_heads=source.heads, kv_num_heads=source.heads_kv, do_rotary=1, rotary_interleaved=0)
    return graph.matmul(mixed, f"{blk}.o", source.weight(f"{blk}.attn_output"))


def feed_forward(graph, source, i, value):
    blk = f"blk.{i}"
    gate = graph.matmul(value, f"{blk}.gate", source.weight(f"{blk}.ffn_gate"))
    up = graph.matmul(value, f"{blk}.up", source.weight(f"{blk}.ffn_up"))
    sigmoid = graph.node("Sigmoid", [gate], [f"{blk}.sigmoid"])
    silu = graph.node("Mul", [gate, sigmoid], [f"{blk}.silu"])
    gated = graph.node("Mul", [silu, up], [f"{blk}.gated"])
    return graph.matmul(gated, f"{blk}.down", source.weight(f"{blk}.ffn_down"))


def skip_norm(graph, source, value, added, name):
    """(norm of value + added, value + added)"""
    weight = graph.constant(f"{name}.weight", source.weight(name))
    graph.node("SkipSimplifiedLayerNormalization", [value, added, weight], [f"{name}.out", "", "", f"{name}.sum"], MICROSOFT,
               epsilon=source.epsilon)
    return f"{name}.out", f"{name}.sum"


def lengths(graph):
    """What grouped-query attention wants to know of the mask: past and total length."""
    one, axis = graph.constant("one", np.array([1], np.int64)), graph.constant("axis", np.array(1, np.int64))
    total = graph.node("ReduceSum", ["attention_mask", one], ["mask_sum"])
    graph.node("Cast", [graph.node("Sub", [total, one], ["mask_last"])], ["seqlens_k"], to=TensorProto.INT32)
    shape = graph.node("Shape", ["attention_mask"], ["mask_shape"])
    graph.node("Cast", [graph.node("Gather", [shape, axis], ["mask_length"])], ["total_length"], to=TensorProto.INT32)


def build(source, positions=4096):
    graph = Graph()
    lengths(graph)
    for name, table in zip(("cos", "sin"), rope_tables(source, positions)):
        graph.constant(name, table)
    total = graph.node("Gather", [graph.constant("token_embd.weight", source.weight("token_embd")), "input_ids"], ["embedded"])
    first = graph.constant("blk.0.attn_norm.weight", source.weight("blk.0.attn_norm"))
    value = graph.node("SimplifiedLayerNormalization", [total, first], ["blk.0.attn_norm.out"], axis=-1, epsilon=source.epsilon)
    for i in range(source.layers):
        value, total = skip_norm(graph, source, total, attention(graph, source, i, value), f"blk.{i}.ffn_norm")
        following = f"blk.{i + 1}.attn_norm" if i + 1 < source.layers else "output_norm"
        value, total = skip_norm(graph, source, total, feed_forward(graph, source, i, value), following)
    last = graph.node("Gather", [value, graph.constant("last", np.array([-1], np.int64))], ["last_row"], axis=1)
    head = "output" if "output.weight" in source.tensors else "token_embd"
    graph.matmul(last, "logits", source.weight(head))
    return graph


def declare(source):
    # transformers.js makes the empty cache from these names.
    def info(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    def cache(prefix, length):
        return [info(f"{prefix}.{i}.{part}", TensorProto.FLOAT, ["batch_size", source.heads_kv, length, source.head_dim])
                for i in range(source.layers) for part in ("key", "value")]

    inputs = [info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]), info("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"])]
    outputs = [info("logits", TensorProto.FLOAT, ["batch_size", 1, source.vocab])]
    return inputs + cache("past_key_values", "past_sequence_length"), outputs + cache("present", "total_sequence_length")


def config(source):
    eos = source.field("tokenizer.ggml.eos_token_id", 2)
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": source.embd, "head_dim": source.head_dim,
            "num_attention_heads": source.heads, "num_key_value_heads": source.heads_kv, "num_hidden_layers": source.layers,
            "intermediate_size": source.ff, "vocab_size": source.vocab, "rms_norm_eps": source.epsilon, "rope_theta": source.theta,
            "max_position_embeddings": 4096, "bos_token_id": source.field("tokenizer.ggml.bos_token_id", 1), "eos_token_id": eos,
            "tie_word_embeddings": "output.weight" not in source.tensors}


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: scripts/bench/onnx MODEL.gguf OUT")
    source, out = Source(sys.argv[1]), pathlib.Path(sys.argv[2])
    (out / "onnx").mkdir(parents=True, exist_ok=True)
    graph, (inputs, outputs) = build(source), declare(source)
    made = helper.make_graph(graph.nodes, "model", inputs, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)], ir_version=9)
    whole = out / "model.onnx"
    onnx.save(model, whole)
    quantize_dynamic(whole, out / "onnx/model_quantized.onnx", weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gather"],
                     extra_options={"DefaultTensorType": TensorProto.FLOAT})
    whole.unlink()
    settings = config(source)
    (out / "config.json").write_text(json.dumps(settings, indent=1))
    generation = {"bos_token_id": settings["bos_token_id"], "eos_token_id": settings["eos_token_id"]}
    (out / "generation_config.json").write_text(json.dumps(generation))
    print(out)


if __name__ == "__main__":
    main()
