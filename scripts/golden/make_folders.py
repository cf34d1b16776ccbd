#!/usr/bin/env python3
"""How `transformers` saves the tiny models of make_model.py as a folder: config.json, and where every value of its tensors
comes from. With it a test writes the folder of a tiny model and compares its logits with those of tests/golden/models.

Nothing here knows names or layouts: each model is filled with the numbers of its GGUF values instead of the values
(value i of all GGUF tensors, one after the other in the golden's order, is 4 i), saved by save_pretrained, and read back.
A saved tensor is then a list of blocks of numbers in nested arithmetic progressions:
  [start, [[count, step], ...]]    the number at (i, j, ...) is start + i * step_i + j * step_j + ..., outermost first
in the order of the tensor's values; "add" is what is added to the GGUF value (Gemma's norms: -1).

Usage: make_folders.py [ARCHITECTURE ...]          all architectures when none is named
"""

import argparse
import json
import math
import pathlib
import sys
import tempfile

import numpy as np
import safetensors.numpy

import common
import make_model

# Keys of config.json that say nothing about the model.
NOISE = ("transformers_version", "dtype", "torch_dtype", "use_cache", "initializer_range", "output_router_logits",
         "router_aux_loss_coef", "experts_implementation")
GGUF_ONLY = ("gpt-oss",)  # no folder of it is read: published in MXFP4, gate and up alternating by column
FOLDER = make_model.FOLDER


class Numbered(make_model.Variant):
    """A variant whose values are their numbers, times 4."""

    def __init__(self, *args):
        super().__init__(*args)
        self.next = 0

    def tensor(self, name, shape):
        self.tensors.append([name, list(shape)])
        count = math.prod(shape)
        numbers = 4.0 * np.arange(self.next, self.next + count)
        self.next += count
        return numbers.reshape(shape)


def progressions(numbers):
    """The numbers as [start, [[count, step], ...]] blocks, greedily, level by level."""
    blocks = [(int(n), ()) for n in numbers]
    while True:
        merged, at = [], 0
        while at < len(blocks):
            start, shape = blocks[at]
            end, step = at + 1, None
            while end < len(blocks) and blocks[end][1] == shape:
                gap = blocks[end][0] - blocks[end - 1][0]
                if step not in (None, gap):
                    break
                step, end = gap, end + 1
            merged.append((start, ((end - at, step), *shape) if end - at > 1 else shape))
            at = end
        if len(merged) == len(blocks):
            return [[start, [list(level) for level in shape]] for start, shape in blocks]
        blocks = merged


def saved_tensor(name, values):
    numbers = values.astype(np.float64).ravel()
    add = {0: 0, 3: -1, 1: 1}[int(numbers[0]) % 4]
    numbers = numbers - add
    if not (numbers % 4 == 0).all():
        raise SystemExit(f"{name}: not every value comes from one of the GGUF file")
    entry = [name, list(values.shape), progressions(numbers / 4)]
    return entry + [add] if add else entry


def make_variant(arch, name, changes):
    with make_model.in_double():
        variant = Numbered(arch, name, changes)
        model = variant.build()
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            config = json.loads((pathlib.Path(folder) / "config.json").read_text(encoding="utf-8"))
            saved = safetensors.numpy.load_file(pathlib.Path(folder) / "model.safetensors")
    unused = getattr(variant.module, "UNUSED", ())
    tensors = [saved_tensor(key, value) for key, value in sorted(saved.items()) if key not in unused]
    entry = {"name": name, "config": {k: v for k, v in config.items() if k not in NOISE}, "tensors": tensors}
    zeros = {key: list(saved[key].shape) for key in unused if key in saved}
    if zeros:
        entry["unused"] = zeros
    print(f"{arch} {name}: {len(tensors)} tensors, {len(json.dumps(tensors))} bytes", flush=True)
    return entry


def make(arch):
    golden = json.loads((common.GOLDEN / "models" / f"{arch}.json").read_text(encoding="utf-8"))
    module = make_model.importlib.import_module(f"models.{arch}")
    variants = []
    for known in golden["variants"]:
        if known["name"] in getattr(module, "MXFP4", {}):
            continue
        entry = make_variant(arch, known["name"], module.VARIANTS[known["name"]])
        variants.append(entry)
    head = common.make_head(__file__, ["transformers", "torch", "numpy"], make_model.SEED, "Apache-2.0 (generated)")
    return {"head": head, "architecture": arch, "variants": variants}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("architecture", nargs="*", help="names of files in scripts/golden/models")
    args = parser.parse_args()
    sys.path.insert(0, str(FOLDER.parent))
    for arch in args.architecture or sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in GGUF_ONLY):
        common.write_json(common.GOLDEN / "folders" / f"{arch}.json", make(arch))


if __name__ == "__main__":
    main()
