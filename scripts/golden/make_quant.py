#!/usr/bin/env python3
"""Block format goldens: bytes of a few blocks per number format and the exact floats they mean.

The floats come from the `gguf` Python package (an implementation of the formats independent of ours). They are stored
as bits, so a reader compares bits: the sign of zero and subnormals included. Every case has finite values only.

Usage: make_quant.py [--out FOLDER]     writes <format>.json for all formats (default: tests/golden/quant)
"""

import argparse
import pathlib
import struct

import gguf
import numpy as np

import common

SEED = 20261124

# Fields of one block in file order: (kind, bytes). "scale" is an f16, "exponent" an E8M0 byte, "codes" any bits.
K_SCALES = ("codes", 12)
LAYOUT = {
    "F32": [("f32", 4)],
    "F16": [("scale", 2)],
    "BF16": [("bf16", 2)],
    "Q4_0": [("scale", 2), ("codes", 16)],
    "Q4_1": [("scale", 2), ("scale", 2), ("codes", 16)],
    "Q5_0": [("scale", 2), ("codes", 4), ("codes", 16)],
    "Q5_1": [("scale", 2), ("scale", 2), ("codes", 4), ("codes", 16)],
    "Q8_0": [("scale", 2), ("codes", 32)],
    "Q2_K": [("codes", 16), ("codes", 64), ("scale", 2), ("scale", 2)],
    "Q3_K": [("codes", 32), ("codes", 64), K_SCALES, ("scale", 2)],
    "Q4_K": [("scale", 2), ("scale", 2), K_SCALES, ("codes", 128)],
    "Q5_K": [("scale", 2), ("scale", 2), K_SCALES, ("codes", 32), ("codes", 128)],
    "Q6_K": [("codes", 128), ("codes", 64), ("codes", 16), ("scale", 2)],
    "IQ4_NL": [("scale", 2), ("codes", 16)],
    "IQ4_XS": [("scale", 2), ("codes", 2), ("codes", 4), ("codes", 128)],
    "MXFP4": [("exponent", 1), ("codes", 16)],
}


def f16_bits(value):
    return struct.pack("<e", value)


def scale_bytes(mode, raw):
    """Two bytes of an f16 scale in the wanted range; `raw` is two random bytes."""
    word = raw[0] | raw[1] << 8
    sign = 0x8000 if mode == "negative" or (mode == "mixed" and raw[1] & 0x80) else 0
    if mode == "subnormal":
        word = (word & 0x8000) | max(1, word & 0x03FF)
    elif mode == "zero":
        word &= 0x8000
    elif mode == "largest":
        word = (word & 0x8000) | 0x7BFF
    else:  # 2^-9 .. 2^-2: what real weights have
        word = sign | ((6 + (word >> 10) % 8) << 10) | (word & 0x03FF)
    return struct.pack("<H", word)


def exponent_byte(mode, raw):
    """One E8M0 byte. 252 is the largest whose product with the code 12 is finite, 0 and 1 decode to subnormals."""
    table = {"subnormal": raw[0] % 2, "zero": 0, "largest": 252, "negative": 127}
    return bytes([table.get(mode, 112 + raw[0] % 16)])


def make_block(fields, mode, codes, label):
    """The bytes of one block: scales as `mode` says, codes random or all equal to the byte `codes`."""
    out = b""
    for number, (kind, size) in enumerate(fields):
        raw = common.stream(SEED, f"{label}/{number}", size)
        if kind == "scale":
            out += scale_bytes(mode, raw)
        elif kind == "exponent":
            out += exponent_byte(mode, raw)
        else:
            out += raw if codes is None else bytes([codes]) * size
    return out


BLOCK_CASES = [  # name, range of the scales, byte of all codes (None: random), blocks
    ("random", "mixed", None, 1),
    ("negative scale", "negative", None, 1),
    ("all code bits 0", "plain", 0x00, 1),
    ("all code bits 1", "mixed", 0xFF, 1),
    ("subnormal scale", "subnormal", None, 1),
    ("zero scale", "zero", None, 1),
    ("largest scale", "largest", None, 1),
    ("row of blocks", "mixed", None, 2),
]


def block_cases(name):
    for title, mode, codes, blocks in BLOCK_CASES:
        yield title, b"".join(make_block(LAYOUT[name], mode, codes, f"{name}/{title}/{i}") for i in range(blocks))


def plain_cases(name):
    """F32, F16, BF16: runs of single values; the edges of the format and random finite bits."""
    size = LAYOUT[name][0][1]
    letter = {4: "<I", 2: "<H"}[size]
    exponent = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}[name]
    mantissa = {"F32": 0x007FFFFF, "F16": 0x03FF, "BF16": 0x007F}[name]
    sign = 1 << (size * 8 - 1)
    step = mantissa + 1
    edges = [0, 1, mantissa, step, step + 1, exponent - step, exponent - 1]
    yield "edges", b"".join(struct.pack(letter, bits | s) for s in (0, sign) for bits in edges)
    words = np.frombuffer(common.stream(SEED, name, size * 64), dtype=letter).tolist()
    words = [word if (word & exponent) != exponent else word & ~step for word in words]
    yield "random", b"".join(struct.pack(letter, word) for word in words)


def decode(name, data):
    """Floats of `data` by the gguf package, as float32."""
    kind = gguf.GGMLQuantizationType[name]
    values = gguf.quants.dequantize(np.frombuffer(data, dtype=np.uint8), kind)
    assert values.dtype == np.float32 and np.isfinite(values).all(), name
    return values


def all_codes(name):
    """Checksum over every finite 16-bit code in order 0..65535 (infinities and NaNs left out)."""
    codes = np.arange(1 << 16, dtype=np.uint32)
    mask = {"F16": 0x7C00, "BF16": 0x7F80}[name]
    codes = codes[(codes & mask) != mask].astype("<u2")
    return {"count": int(codes.size), "f32_fnv1a64": common.fnv1a64(decode(name, codes.tobytes()).tobytes())}


def make(name):
    """The golden of one format."""
    length, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    assert size == sum(bytes_ for _, bytes_ in LAYOUT[name])
    head = common.make_head(
        __file__, ["gguf", "numpy"], SEED, "Apache-2.0 (generated)",
        note="f32 holds little-endian float32 bits; compare bits, also the sign of zero",
    )
    cases = [
        {"name": title, "bytes": data.hex(), "f32": decode(name, data).astype("<f4").tobytes().hex()}
        for title, data in (plain_cases(name) if length == 1 else block_cases(name))
    ]
    golden = {"head": head, "format": name, "block_length": length, "block_bytes": size, "cases": cases}
    if name in ("F16", "BF16"):
        golden["all_finite_codes"] = all_codes(name)
    return golden


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=common.GOLDEN / "quant")
    out = parser.parse_args().out
    for name in LAYOUT:
        common.write_json(out / f"{name.lower()}.json", make(name))


if __name__ == "__main__":
    main()
