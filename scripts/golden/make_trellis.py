#!/usr/bin/env python3
"""Golden superrows of the trellis formats (src/quant/trellis.h): an independent decoder in plain integers.

Reads the bit string of every stream as the specification says, then forms the windows by slicing it.

Usage: make_trellis.py [--out FOLDER]     writes trellis.json (default: tests/golden/quant)
"""
import argparse
import pathlib
import struct

import common

SEED = 20261125
COLUMNS = (32, 96)


def noise(tag, n):
    return common.stream(SEED, tag, n)


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def decode(bits, tables, zero, start, scale, columns, data):
    t1, t2 = tables
    rows = []
    for r in range(16):
        d = struct.unpack_from("<e", data, 2 * r)[0]
        step = f32(scale * d)
        row = [0.0] * columns
        stream = [start >> b & 1 for b in range(4)]  # the window before the first bit
        for i in range(4):
            stream = stream[-4:]  # goes on from the end of the stream before
            for s in range(columns // 32):
                for p in range(bits):
                    byte = data[32 + s * bits * 64 + p * 64 + 4 * r + i]
                    stream += [byte >> b & 1 for b in range(8)]
            window = lambda end: sum(stream[end - 4 + b] << b for b in range(4))
            for t in range(columns // 4):
                before, now = window(4 + bits * t), window(4 + bits * (t + 1))
                row[4 * t + i] = f32(step * (t1[before] + t2[now] - zero))
        rows.append(row)
    return rows


def case(bits, columns):
    tag, top = f"{bits}/{columns}", 31 if bits == 2 else 63
    t1 = [b % (top // 2 + 1) for b in noise(tag + "/t1", 16)]
    t2 = [b % (top - top // 2 + 1) for b in noise(tag + "/t2", 16)]
    zero, start, scale = top // 2, noise(tag + "/start", 1)[0] % 16, 0.375
    scales = struct.pack("<16e", *[(b - 128) / 512 for b in noise(tag + "/d", 16)])
    data = scales + noise(tag + "/data", bits * 2 * columns)
    rows = decode(bits, (t1, t2), zero, start, scale, columns, data)
    return {"format": f"NT{bits}", "columns": columns, "t1": t1, "t2": t2, "zero": zero, "start": start, "scale": scale,
            "bytes": data.hex(), "f32": "".join(struct.pack("<f", x).hex() for row in rows for x in row)}


def make():
    head = common.make_head(__file__, [], SEED, "Apache-2.0 (generated)", note="f32: 16 rows, little-endian")
    return {"head": head, "cases": [case(bits, columns) for bits in (2, 3, 4) for columns in COLUMNS]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=common.GOLDEN / "quant", type=pathlib.Path)
    common.write_json(parser.parse_args().out / "trellis.json", make())


if __name__ == "__main__":
    main()
