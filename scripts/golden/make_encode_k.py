#!/usr/bin/env python3
"""Goldens of the encoders with a choice: blocks of 256 floats and how far ggml's own quantiser stays from them.

Q4_K and Q6_K do not say which scales to take, so bytes of two encoders differ; ours must not be worse than ggml's.
Needs llama-cpp-python (its ggml library is called directly), gguf (decodes) and numpy.

Usage: make_encode_k.py [--out FILE]
"""

import argparse
import ctypes
import pathlib
import struct

import gguf
import llama_cpp
import numpy as np

import common

SEED = 20261125
FORMATS = ["Q4_K", "Q6_K"]


def uniform(label, count):
    """In [-1, 1), repeatable."""
    return np.array(struct.unpack(f"<{count}i", common.stream(SEED, label, 4 * count))) / 2.0**31


def normal(label, count):
    """Nearly: the sum of twelve uniform numbers, variance 1."""
    return uniform(label, 12 * count).reshape(count, 12).sum(axis=1) / 2


def blocks():
    """name, 256 floats"""
    steps = np.repeat(np.array([1, 4, 0.25, 2, 16, 1, 0.5, 3]), 32)
    yield "normal", normal("normal", 256)
    yield "small", normal("small", 256) * 0.02
    yield "uniform", uniform("uniform", 256)
    yield "heavy tails", normal("heavy", 256) ** 3 * 0.01
    yield "sub-blocks of many sizes", normal("sizes", 256) * steps
    yield "positive", np.abs(normal("positive", 256)) + 0.5
    yield "one outlier", np.where(np.arange(256) == 77, 30.0, normal("outlier", 256))


def ggml_library():
    folder = pathlib.Path(llama_cpp.__file__).parent / "lib"
    library = ctypes.CDLL(str(folder / "libggml-base.so"))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                                            ctypes.c_int64, ctypes.c_void_p]
    return library


def squared_error(library, kind, values):
    quant = gguf.GGMLQuantizationType[kind]
    out = np.zeros(gguf.GGML_QUANT_SIZES[quant][1], dtype=np.uint8)
    library.ggml_quantize_chunk(int(quant), values.ctypes.data, out.ctypes.data, 0, 1, values.size, None)
    decoded = gguf.quants.dequantize(out.reshape(1, -1), quant).reshape(-1)
    return float(((decoded.astype(np.float64) - values) ** 2).sum())


def make():
    library, cases = ggml_library(), []
    for name, values in blocks():
        values = np.ascontiguousarray(values, dtype=np.float32)
        case = {"name": name, "f32": values.astype("<f4").tobytes().hex()}
        case.update({kind: squared_error(library, kind, values) for kind in FORMATS})
        cases.append(case)
    head = common.make_head(__file__, ["gguf", "llama-cpp-python", "numpy"], SEED, "Apache-2.0 (generated)")
    return {"head": head, "cases": cases}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=common.GOLDEN / "encode" / "k_blocks.json")
    common.write_json(parser.parse_args().out, make())


if __name__ == "__main__":
    main()
