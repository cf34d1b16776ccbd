#!/usr/bin/env python3
"""A tiny random `llama` model and its logits, computed in float64 with numpy only: the oracle for our graph and kernels.

The weights come from a counter-based generator, so a test builds the very same model without any file:
  counter_rng(seed, i) = splitmix64 finaliser of seed + (i + 1) * 0x9E3779B97F4A7C15
  uniform(seed, i)     = (top 24 bits of counter_rng) / 2^23 - 1, exact in float32, in [-1, 1)
  seed of a tensor     = FNV-1a 64 of its name, xor the model seed; i counts row by row (n_in fastest)
  matrix               = uniform * scale, scale = float32(1.7 / sqrt(n_in)); embedding: scale 1; norm: 1 + 0.1f * uniform
All products and sums of the weights are rounded to float32, everything after that is float64.

Graph (llama, GGUF weight order): x = embedding; per layer: x += Wo attend(rope(Wq n), rope(Wk n), Wv n), n = rms_norm(x);
x += Wdown(silu(Wgate n) * Wup n); logits = W_head rms_norm(x). RoPE turns the interleaved pairs (2i, 2i + 1).

Usage: make_tiny.py [--out FILE] [--gguf FOLDER]    --gguf also writes each variant as a GGUF file and compares llama.cpp
"""

import argparse
import math
import pathlib
import tempfile

import numpy as np

import common

SEED = 0x5EED_0F_71A1
N_TOKENS = 40
POSITIONS = [0, 1, 17, 39]
BASE = {
    "n_layer": 2, "n_embd": 64, "n_head": 4, "n_head_kv": 2, "head_dim": 16, "n_ff": 96, "n_vocab": 96, "n_ctx": 128,
    "rope_freq_base": 10000.0, "rms_norm_eps": 1e-5, "tied": True, "rope_scaling": "none",
}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_context": 64}
VARIANTS = {
    "tied": {},
    "untied": {"tied": False},
    "no_grouping": {"n_head_kv": 4},
    "wide_head": {"head_dim": 32, "n_head_kv": 1},
    "rope_linear": {"rope_scaling": "linear", "rope_scaling_factor": 2.0},
    "rope_factors": {"rope_scaling": "factors", "rope_factors_from": LLAMA3},
    "rope_yarn": {"rope_scaling": "yarn", "rope_scaling_factor": 4.0, "original_context": 64},
}
MASK = (1 << 64) - 1


def fnv(name):
    return int(common.fnv1a64(name.encode()), 16)


def counter_rng(seed, count):
    """The first `count` values of the generator for `seed`, as uint64."""
    index = np.arange(1, count + 1, dtype=np.uint64)
    z = np.uint64(seed & MASK) + index * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(name, count):
    bits = counter_rng(fnv(name) ^ SEED, count) >> np.uint64(40)
    return (bits.astype(np.float64) / 2.0**23 - 1.0).astype(np.float32)


def matrix(name, n_out, n_in, scale=None):
    factor = np.float32(1.7 / math.sqrt(n_in) if scale is None else scale)
    return uniform(name, n_out * n_in).reshape(n_out, n_in) * factor


def norm(name, n):
    return np.float32(1) + np.float32(0.1) * uniform(name, n)


def make_weights(c):
    """Tensor name -> float32 array [n_out, n_in], in file order."""
    q, kv = c["n_head"] * c["head_dim"], c["n_head_kv"] * c["head_dim"]
    w = {"token_embd.weight": matrix("token_embd.weight", c["n_vocab"], c["n_embd"], 1.0)}
    for i in range(c["n_layer"]):
        p = f"blk.{i}."
        shapes = {
            "attn_q": (q, c["n_embd"]), "attn_k": (kv, c["n_embd"]), "attn_v": (kv, c["n_embd"]),
            "attn_output": (c["n_embd"], q), "ffn_gate": (c["n_ff"], c["n_embd"]), "ffn_up": (c["n_ff"], c["n_embd"]),
            "ffn_down": (c["n_embd"], c["n_ff"]),
        }
        for name in ("attn_norm", "ffn_norm"):
            w[f"{p}{name}.weight"] = norm(f"{p}{name}.weight", c["n_embd"])
        for name, shape in shapes.items():
            w[f"{p}{name}.weight"] = matrix(f"{p}{name}.weight", *shape)
    w["output_norm.weight"] = norm("output_norm.weight", c["n_embd"])
    if not c["tied"]:
        w["output.weight"] = matrix("output.weight", c["n_vocab"], c["n_embd"])
    if c["rope_scaling"] == "factors":
        w["rope_freqs.weight"] = llama3_factors(c)
    return w


def llama3_factors(c):
    """The divisors of the frequencies as the Llama 3.1 rule gives them (head_dim / 2 values, float32)."""
    rule = c["rope_factors_from"]
    wavelength = 2 * math.pi * c["rope_freq_base"] ** (np.arange(0, c["head_dim"], 2) / c["head_dim"])
    low = rule["original_context"] / rule["low_freq_factor"]
    high = rule["original_context"] / rule["high_freq_factor"]
    smooth = (rule["original_context"] / wavelength - rule["low_freq_factor"]) / (
        rule["high_freq_factor"] - rule["low_freq_factor"])
    mixed = 1 / ((1 - smooth) / rule["factor"] + smooth)
    return np.where(wavelength < high, 1.0, np.where(wavelength > low, rule["factor"], mixed)).astype(np.float32)


def rope_table(c, weights):
    """cos, sin [N_TOKENS, head_dim / 2], already times the magnitude that YaRN asks for."""
    d = c["head_dim"]
    freq = c["rope_freq_base"] ** (-np.arange(0, d, 2) / d)
    magnitude = 1.0
    if c["rope_scaling"] == "linear":
        freq = freq / c["rope_scaling_factor"]
    elif c["rope_scaling"] == "factors":
        freq = freq / weights["rope_freqs.weight"].astype(np.float64)
    elif c["rope_scaling"] == "yarn":  # arXiv 2309.00071: dimensions turning often keep their speed, slow ones interpolate
        def dimension(turns):
            return d * math.log(c["original_context"] / (turns * 2 * math.pi)) / (2 * math.log(c["rope_freq_base"]))
        low, high = max(0, math.floor(dimension(32))), min(d - 1, math.ceil(dimension(1)))
        keep = 1 - np.clip((np.arange(d // 2) - low) / max(0.001, high - low), 0, 1)
        freq = freq * keep + freq / c["rope_scaling_factor"] * (1 - keep)
        magnitude = 0.1 * math.log(c["rope_scaling_factor"]) + 1.0
    angle = np.outer(np.arange(N_TOKENS), freq)
    return np.cos(angle) * magnitude, np.sin(angle) * magnitude


def rope(x, cos, sin):
    """x: [tokens, heads, head_dim], pairs (2i, 2i + 1)."""
    out = np.empty_like(x)
    even, odd = x[..., 0::2], x[..., 1::2]
    out[..., 0::2] = even * cos[:, None] - odd * sin[:, None]
    out[..., 1::2] = even * sin[:, None] + odd * cos[:, None]
    return out


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * weight


def attend(c, q, k, v):
    """Causal grouped-query attention; q: [tokens, n_head, head_dim], k and v: [tokens, n_head_kv, head_dim]."""
    group = c["n_head"] // c["n_head_kv"]
    n = q.shape[0]
    out = np.empty_like(q)
    hidden = np.triu(np.full((n, n), -np.inf), 1)
    for h in range(c["n_head"]):
        scores = q[:, h] @ k[:, h // group].T / math.sqrt(c["head_dim"]) + hidden
        p = np.exp(scores - scores.max(axis=-1, keepdims=True))
        out[:, h] = p / p.sum(axis=-1, keepdims=True) @ v[:, h // group]
    return out.reshape(n, -1)


def forward(c, weights, tokens):
    """Logits [tokens, n_vocab] in float64."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    cos, sin = rope_table(c, weights)
    n, d, eps = len(tokens), c["head_dim"], c["rms_norm_eps"]
    x = w["token_embd.weight"][tokens]
    for i in range(c["n_layer"]):
        p = f"blk.{i}."
        h = rms_norm(x, w[p + "attn_norm.weight"], eps)
        q = rope((h @ w[p + "attn_q.weight"].T).reshape(n, -1, d), cos, sin)
        k = rope((h @ w[p + "attn_k.weight"].T).reshape(n, -1, d), cos, sin)
        v = (h @ w[p + "attn_v.weight"].T).reshape(n, -1, d)
        x = x + attend(c, q, k, v) @ w[p + "attn_output.weight"].T
        h = rms_norm(x, w[p + "ffn_norm.weight"], eps)
        gate = h @ w[p + "ffn_gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ w[p + "ffn_up.weight"].T)) @ w[p + "ffn_down.weight"].T
    head = w["token_embd.weight"] if c["tied"] else w["output.weight"]
    return rms_norm(x, w["output_norm.weight"], eps) @ head.T


def write_gguf(path, c, weights):
    """The variant as a GGUF file without a vocabulary."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(c["n_layer"])
    writer.add_context_length(c["n_ctx"])
    writer.add_embedding_length(c["n_embd"])
    writer.add_feed_forward_length(c["n_ff"])
    writer.add_head_count(c["n_head"])
    writer.add_head_count_kv(c["n_head_kv"])
    writer.add_key_length(c["head_dim"])
    writer.add_value_length(c["head_dim"])
    writer.add_rope_dimension_count(c["head_dim"])
    writer.add_rope_freq_base(c["rope_freq_base"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_vocab_size(c["n_vocab"])
    writer.add_tokenizer_model("none")
    if "rope_scaling_factor" in c:
        writer.add_rope_scaling_type(gguf.RopeScalingType(c["rope_scaling"]))
        writer.add_rope_scaling_factor(c["rope_scaling_factor"])
    if "original_context" in c:
        writer.add_rope_scaling_orig_ctx_len(c["original_context"])
    for name, value in weights.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp_difference(path, tokens, logits):
    """Largest difference of llama.cpp's logits (float32 KV cache) to ours, over all positions."""
    from llama_ref import Reference

    ref = Reference(path, kv="f32", threads=1, step=64, context=64)
    theirs = ref.decode(tokens.tolist(), every=True)
    ref.close()
    return float(np.abs(theirs - logits).max())


def make(gguf_folder=None):
    """The whole golden; with a folder also the GGUF files and the cross-check."""
    tokens = (counter_rng(fnv("tokens") ^ SEED, N_TOKENS) % np.uint64(BASE["n_vocab"])).astype(np.int64)
    variants, checked = [], {}
    for name, changes in VARIANTS.items():
        c = {**BASE, **changes}
        weights = make_weights(c)
        logits = forward(c, weights, tokens)
        if gguf_folder:
            path = pathlib.Path(gguf_folder) / f"tiny_llama_{name}.gguf"
            write_gguf(path, c, weights)
            checked[name] = float(f"{llama_cpp_difference(path, tokens, logits):.3g}")
        entry = {"name": name, "config": c}
        if "rope_freqs.weight" in weights:
            entry["rope_freqs"] = [float(v) for v in weights["rope_freqs.weight"]]
        entry["weights"] = {
            key: {"shape": list(value.shape), "first": [float(v) for v in value.ravel()[:3]],
                  "f32_fnv1a64": common.fnv1a64(value.astype("<f4").tobytes())}
            for key, value in weights.items()
        } if name in ("untied", "wide_head") else {}
        entry["logits"] = [[float(f"{v:.10g}") for v in logits[p]] for p in POSITIONS]
        variants.append(entry)
    more = {"reference": "numpy, float64, written for this file"}
    packages = ["numpy"]
    if checked:
        from llama_ref import LLAMA_CPP_COMMIT

        packages += ["gguf", "llama-cpp-python"]
        more["llama_cpp_commit"] = LLAMA_CPP_COMMIT
        more["largest_difference_to_llama_cpp"] = checked
    head = common.make_head(__file__, packages, SEED, "Apache-2.0 (generated)", **more)
    return {"head": head, "tokens": tokens.tolist(), "positions": POSITIONS, "variants": variants}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=common.GOLDEN / "logits" / "tiny_llama.json")
    parser.add_argument("--gguf", type=pathlib.Path, help="folder for the GGUF files of all variants")
    parser.add_argument("--no-check", action="store_true", help="do not compare with llama.cpp")
    args = parser.parse_args()
    if args.no_check:
        golden = make()
    else:
        with tempfile.TemporaryDirectory() as temporary:
            golden = make(args.gguf or temporary)
        print(golden["head"]["largest_difference_to_llama_cpp"])
    common.write_json(args.out, golden)


if __name__ == "__main__":
    main()
