#!/usr/bin/env python3
"""Tiny random models of every architecture and their logits by `transformers` in float64: the oracle for our graphs.

An architecture is one file in scripts/golden/models (models/README.md says what it may define). This script builds the
`transformers` model of each of its variants, fills it with numbers that a test makes again without any file, and writes
tests/golden/models/<architecture>.json: metadata and tensor list of the GGUF file, and the logits of a few positions.

The numbers come from the counter-based generator of src/base/rng.h:
  counter_rng(seed, i) = splitmix64 finaliser of seed + (i + 1) * 0x9E3779B97F4A7C15
  uniform(seed, i)     = (top 24 bits of counter_rng) / 2^23 - 1, exact in float32, in [-1, 1)
  seed of a tensor     = FNV-1a 64 of its GGUF name, xor the head's seed; i counts row by row (n_in fastest)
  value                = offset + uniform * scale, rounded to float32 after each operation
Everything after that is float64: transformers casts to float32 by name in norms, softmax and rotary tables, so that name
means float64 while the model is built and run.

GGUF names come from the `gguf` package's own table. So that our reader and this script cannot share one misreading, the
GGUF file of every variant is loaded in llama.cpp too, and its logits must be the same (the head says how far they are).

Usage: make_model.py [ARCHITECTURE ...] [--gguf FOLDER] [--no-check]     all architectures when none is named
  --gguf      keeps the GGUF files there        --no-check   without llama.cpp (scripts/golden/check refuses the result)
"""

import argparse
import contextlib
import importlib
import math
import pathlib
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers

import common

SEED = 0x5EED_0F_71A1
N_TOKENS = 96
N_VOCAB = 128
POSITIONS = [0, 1, 33, 70, 95]
# How far llama.cpp's logits may be away. Two engines that compute in float32 from the same weights: 2.2e-7 to 4.4e-7
# were measured. It looks GELU up in a table of 16-bit floats (relative error 2^-11): 1.3e-4 to 2.8e-4 where a family has it.
# What meets blocks it rounds to 8 bits: 6e-3 with two experts of two.
LLAMA_CPP_TOLERANCE, GELU_TOLERANCE, BLOCKS_TOLERANCE = 1e-6, 5e-4, 1.5e-2
MASK = (1 << 64) - 1
FOLDER = pathlib.Path(__file__).resolve().parent / "models"


def fnv(name):
    return int(common.fnv1a64(name.encode()), 16)


def counter_rng(seed, count):
    """The first `count` values of the generator for `seed`, as uint64."""
    index = np.arange(1, count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(seed & MASK) + index * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def random_values(name, shape, scale, offset):
    bits = counter_rng(fnv(name) ^ SEED, math.prod(shape)) >> np.uint64(40)
    uniform = (bits.astype(np.float64) / 2.0**23 - 1.0).astype(np.float32)
    return (np.float32(offset) + uniform * np.float32(scale)).reshape(shape)


MXFP4_LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])


def random_mxfp4(name, shape):
    """Blocks [n, 17] of a tensor: exponent 120..123, then 16 bytes of two values each; and the values.

    The bytes of block b are those of counter_rng(seed, 2 b) and (seed, 2 b + 1), its exponent is
    120 + counter_rng(seed ^ 1, b) % 4.
    """
    n = math.prod(shape) // 32
    seed = fnv(name) ^ SEED
    codes = counter_rng(seed, 2 * n).astype("<u8").view(np.uint8).reshape(n, 16)
    exponents = (120 + counter_rng(seed ^ 1, n) % np.uint64(4)).astype(np.uint8)
    values = MXFP4_LEVELS[np.concatenate([codes & 15, codes >> 4], axis=1)]
    values = values * 2.0 ** (exponents.astype(np.float64)[:, None] - 127)
    return np.concatenate([exponents[:, None], codes], axis=1), values.reshape(shape).astype(np.float32)


def rule(name, shape):
    """(scale, offset) of a tensor: norms around 1, small biases, matrices that keep the size of what passes through."""
    if name.endswith("norm.weight"):
        return 0.1, 1.0
    if len(shape) == 1:
        return 0.2, 0.0
    if name == "token_embd.weight":
        return 1.0, 0.0
    return float(np.float32(1.7 / math.sqrt(shape[-1]))), 0.0


@contextlib.contextmanager
def in_double():
    """float32 means float64, for what asks for it by name."""
    saved = torch.float32, torch.float, torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = saved
        torch.set_default_dtype(torch.float32)


class Variant:
    """One model: its transformers config, its GGUF metadata and tensors."""

    def __init__(self, arch, name, changes):
        self.arch, self.name = arch, name
        self.module = importlib.import_module(f"models.{arch}")
        self.settings = {**self.module.CONFIG, **changes}
        default = (self.module.CONFIG_CLASS, self.module.MODEL_CLASS)
        config_class, self.model_class = getattr(self.module, "CLASSES", {}).get(name, default)
        self.config = getattr(transformers, config_class)(
            vocab_size=N_VOCAB, attn_implementation="eager", experts_implementation="eager",
            **self.settings)
        self.metadata = self.module.metadata(self.config)
        self.mxfp4 = getattr(self.module, "MXFP4", {}).get(name, ())  # parts of tensors' names
        self.blocks = {}  # of tensors in MXFP4
        self.tensors, self.values = [], {}  # [name, shape, scale, offset]; GGUF name -> float32 array
        for key, value in getattr(self.module, "given", lambda config: {})(self.config).items():
            self.values[key] = np.asarray(value, dtype=np.float32)
        self.given = list(self.values)

    def tensor(self, name, shape):
        """The values of a GGUF tensor."""
        rules = getattr(self.module, "RULES", {})
        if any(part in name for part in self.mxfp4):
            self.tensors.append([name, list(shape), "MXFP4"])
            self.blocks[name], self.values[name] = random_mxfp4(name, shape)
            return self.values[name]
        scale, offset = next((r for key, r in rules.items() if key in name), None) or rule(name, shape)
        self.tensors.append([name, list(shape), scale, offset])
        self.values[name] = random_values(name, shape, scale, offset)
        return self.values[name]

    def build(self):
        """The transformers model, its parameters filled from the GGUF tensors."""
        model = getattr(transformers, self.model_class)(self.config).eval()
        names = gguf.get_tensor_name_map(self.arch_id(), self.config.num_hidden_layers)
        layout = getattr(self.module, "layout", lambda name, shape, config, names: None)
        self.tensors = []
        buffers = getattr(self.module, "BUFFERS", ())
        filled = list(model.named_parameters()) + [b for b in model.named_buffers() if b[0].endswith(buffers)]
        for hf_name, parameter in filled:
            shape = tuple(parameter.shape)
            if hf_name in getattr(self.module, "UNUSED", ()):
                continue
            special = layout(hf_name, shape, self.config, names)
            name = names.get_name(hf_name, try_suffixes=(".weight", ".bias"))
            parts, join = special or ([(name, shape)], lambda a: a)
            if None in (p[0] for p in parts):
                raise SystemExit(f"{self.arch}: no GGUF name for {hf_name}")
            value = join(*(self.tensor(*part).astype(np.float64) for part in parts))
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)).to(parameter.dtype))
        return model

    def llama_cpp_tolerance(self):
        if self.blocks:
            return BLOCKS_TOLERANCE
        names = ("hidden_act", "hidden_activation", "activation_function")
        activation = next((getattr(self.config, name) for name in names if hasattr(self.config, name)), "silu")
        return GELU_TOLERANCE if "gelu" in activation else LLAMA_CPP_TOLERANCE

    def arch_id(self):
        return next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == self.arch)

    def run(self, tokens):
        """Rows [N_TOKENS, width]: logits, or what the architecture's own run() answers."""
        run = getattr(self.module, "run", lambda model, ids: model(input_ids=ids, use_cache=False).logits)
        with torch.no_grad():
            return run(self.build(), torch.from_numpy(tokens)[None])[0].double().numpy()

    def write_gguf(self, path):
        """As llama.cpp's converter would, without a vocabulary."""
        writer = gguf.GGUFWriter(path, self.arch)
        writer.add_vocab_size(N_VOCAB)
        writer.add_tokenizer_model("none")
        for key, value in self.metadata.items():
            kind, element = kind_of(value)
            prefix = "" if key.startswith("tokenizer.") else f"{self.arch}."
            writer.add_key_value(prefix + key, value, kind, element)
        for name, value in self.values.items():
            if name in self.blocks:
                rows = self.blocks[name].reshape(*value.shape[:-1], -1)
                writer.add_tensor(name, rows, raw_dtype=gguf.GGMLQuantizationType.MXFP4)
            else:
                writer.add_tensor(name, value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def kind_of(value):
    """GGUF type of a metadata value, and of its elements."""
    if isinstance(value, list):
        return gguf.GGUFValueType.ARRAY, kind_of(value[0])[0]
    kinds = {bool: "BOOL", int: "UINT32", float: "FLOAT32", str: "STRING"}
    return gguf.GGUFValueType[kinds[type(value)]], None


def llama_cpp_rows(variant, path, tokens):
    """What llama.cpp computes from the file, in float32 with a float32 cache."""
    from llama_ref import Reference

    ref = Reference(path, kv="f32", threads=1, step=len(tokens), context=len(tokens),
                    embed=hasattr(variant.module, "llama_cpp"))
    rows = getattr(variant.module, "llama_cpp", lambda ref, ids: ref.decode(ids, last=len(ids)))(ref, tokens.tolist())
    ref.close()
    return rows


def relative(a, b):
    """Relative root mean square difference."""
    return float(np.sqrt(((a - b) ** 2).sum() / (b**2).sum()))


def make_variant(arch, name, changes, tokens, folder):
    with in_double():
        variant = Variant(arch, name, changes)
        rows = variant.run(tokens)
    single = relative(Variant(arch, name, changes).run(tokens), rows)
    difference = None
    if folder is not None:
        path = pathlib.Path(folder) / f"tiny_{arch}_{name}.gguf"
        variant.write_gguf(path)
        if name in getattr(variant.module, "NOT_IN_LLAMA_CPP", {}):
            difference = variant.module.NOT_IN_LLAMA_CPP[name]
        else:
            difference = relative(llama_cpp_rows(variant, path, tokens), rows)
        if isinstance(difference, float) and not difference < variant.llama_cpp_tolerance():
            raise SystemExit(f"{arch}, {name}: llama.cpp's logits are {difference:.3g} away")
    print(f"{arch} {name}: transformers in float32 {single:.2g}, llama.cpp {difference}", flush=True)
    entry = {
        "name": name, "config": variant.settings, "metadata": variant.metadata, "tensors": variant.tensors,
        "given": {key: [float(v) for v in variant.values[key].ravel()] for key in variant.given},
        "logits": [[float(f"{v:.9g}") for v in rows[p]] for p in POSITIONS],
    }
    return entry, single, difference


def make(arch, folder):
    """The golden of one architecture; folder: for the GGUF files, None without the check."""
    tokens = (counter_rng(fnv("tokens") ^ SEED, N_TOKENS) % np.uint64(N_VOCAB)).astype(np.int64)
    module = importlib.import_module(f"models.{arch}")
    variants, single, checked = [], {}, {}
    for name, changes in module.VARIANTS.items():
        entry, single[name], checked[name] = make_variant(arch, name, changes, tokens, folder)
        variants.append(entry)
    more = {"maker": "scripts/golden/make_model.py", "maker_sha256": common.constants_sha256(__file__)}
    more["distance_of_transformers_in_float32"] = {k: float(f"{v:.2g}") for k, v in single.items()}
    packages = ["transformers", "torch", "gguf", "numpy"]
    if folder is not None:
        from llama_ref import LLAMA_CPP_COMMIT

        packages.append("llama-cpp-python")
        more["llama_cpp_commit"] = LLAMA_CPP_COMMIT
        more["distance_of_llama_cpp"] = {
            k: v if isinstance(v, str) else float(f"{v:.2g}") for k, v in checked.items()}
    head = common.make_head(FOLDER / f"{arch}.py", packages, SEED, "Apache-2.0 (generated)", **more)
    return {"head": head, "architecture": arch, "n_vocab": N_VOCAB, "tokens": tokens.tolist(),
            "positions": POSITIONS, "variants": variants}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architecture", nargs="*", help="names of files in scripts/golden/models")
    parser.add_argument("--gguf", type=pathlib.Path, help="folder that keeps the GGUF files")
    parser.add_argument("--no-check", action="store_true", help="do not compare with llama.cpp")
    args = parser.parse_args()
    sys.path.insert(0, str(FOLDER.parent))
    known = sorted(p.stem for p in FOLDER.glob("*.py"))
    if args.gguf:
        args.gguf.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        for arch in args.architecture or known:
            folder = None if args.no_check else args.gguf or temporary
            common.write_json(common.GOLDEN / "models" / f"{arch}.json", make(arch, folder))


if __name__ == "__main__":
    main()
