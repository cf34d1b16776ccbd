#!/usr/bin/env python3
"""Encoder goldens: blocks of floats and the bytes the `gguf` Python package quantises them to.

Usage: make_encode.py [--out FILE]
"""

import argparse
import pathlib
import struct

import gguf
import numpy as np

import common

SEED = 20261124
FORMATS = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0"]
SCALES = [1.0, 0.05, 1e-3, 300.0, 1e-6, 3e-8]  # the last two: scales that are subnormal or zero as f16
# Blocks with ties of the rounding and repeated extremes, as 32 values.
EXACT = [
    [0.0] * 32,
    [1.0] * 32,
    [-2.0] * 32,
    [i / 2 - 8 for i in range(32)],
    [127.0 if i == 0 else i + 0.5 for i in range(32)],
    [8.0, -8.0] * 16,
    [-8.0, 8.0] * 16,
    [1 + i * 2.0**-11 for i in range(32)],
    [1 + i * 2.0**-9 for i in range(32)],
]


def blocks():
    """name, 32 floats"""
    for number, values in enumerate(EXACT):
        yield f"exact {number}", np.array(values, dtype=np.float32)
    for scale in SCALES:
        words = struct.unpack("<32i", common.stream(SEED, f"encode/{scale}", 128))
        yield f"random {scale}", (np.array(words) / 2.0**31 * scale).astype(np.float32)


def make():
    cases = []
    for name, values in blocks():
        case = {"name": name, "f32": values.astype("<f4").tobytes().hex()}
        for kind in FORMATS:
            out = gguf.quants.quantize(values.reshape(1, 32), gguf.GGMLQuantizationType[kind])
            case[kind] = out.tobytes().hex()
        cases.append(case)
    head = common.make_head(__file__, ["gguf", "numpy"], SEED, "Apache-2.0 (generated)")
    return {"head": head, "cases": cases}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=common.GOLDEN / "encode" / "blocks.json")
    common.write_json(parser.parse_args().out, make())


if __name__ == "__main__":
    main()
