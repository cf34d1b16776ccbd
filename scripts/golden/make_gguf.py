#!/usr/bin/env python3
"""Small GGUF files written by the `gguf` Python package, and what they hold: the oracle for our reader.

Every metadata type with its extreme values, arrays of every element type, names and strings in several scripts, other
alignments, tensors of several formats and ranks, no tensors at all, version 2, and a big-endian file (to be refused).
What is expected comes from the package's own reader, not from the lists below; the two are compared while making.

Usage: make_gguf.py [--out FILE]
"""

import argparse
import pathlib
import struct
import tempfile

import gguf
import numpy as np

import common

SEED = 20261124
TYPE = gguf.GGUFValueType
SCALARS = [
    ("u8", TYPE.UINT8, [0, 255]), ("i8", TYPE.INT8, [-128, 127]), ("u16", TYPE.UINT16, [0, 65535]),
    ("i16", TYPE.INT16, [-32768, 32767]), ("u32", TYPE.UINT32, [0, 2**32 - 1]), ("i32", TYPE.INT32, [-(2**31), 2**31 - 1]),
    ("u64", TYPE.UINT64, [0, 2**64 - 1]), ("i64", TYPE.INT64, [-(2**63), 2**63 - 1]),
    ("f32", TYPE.FLOAT32, [-0.5, 1e-5, 3.4028234663852886e38]), ("f64", TYPE.FLOAT64, [0.1, -1e300]),
    ("bool", TYPE.BOOL, [True, False]),
    ("string", TYPE.STRING, ["", "plain", "Grüße, 世界 🐚", "line\nbreak\ttab", "a" * 300]),
]
TENSORS = [  # name, shape in numpy order (rows first), format
    ("one.weight", (7,), "F32"), ("matrix.weight", (3, 64), "Q4_1"), ("k.weight", (2, 256), "Q4_K"),
    ("cube", (2, 3, 32), "Q8_0"), ("four", (2, 1, 3, 5), "F16"), ("häße.weight", (1, 32), "MXFP4"),
]


def add_scalars(writer):
    for name, kind, values in SCALARS:
        for index, value in enumerate(values):
            writer.add_key_value(f"test.{name}.{index}", value, kind)


def add_arrays(writer):
    for name, kind, values in SCALARS:
        writer.add_key_value(f"test.array.{name}", values, TYPE.ARRAY, sub_type=kind)
    writer.add_key_value("test.array.long", list(range(1000)), TYPE.ARRAY, sub_type=TYPE.UINT16)


def add_tensors(writer):
    for name, shape, kind in TENSORS:
        format_ = gguf.GGMLQuantizationType[kind]
        length, size = gguf.GGML_QUANT_SIZES[format_]
        count = int(np.prod(shape)) // length * size
        row = shape[-1] // length * size
        data = np.frombuffer(common.stream(SEED, name, count), dtype=np.uint8).reshape(*shape[:-1], row)
        if kind in ("F32", "F16"):
            values = np.arange(int(np.prod(shape)), dtype=np.float32 if kind == "F32" else np.float16)
            writer.add_tensor(name, values.reshape(shape))
        else:
            writer.add_tensor(name, data, raw_dtype=format_)


CASES = [  # name, what is added, alignment (None: nothing said), version, endianness, error expected
    ("all scalars", [add_scalars], None, 3, "little", None),
    ("all arrays", [add_arrays], None, 3, "little", None),
    ("tensors", [add_tensors], None, 3, "little", None),
    ("alignment 128", [add_tensors], 128, 3, "little", None),
    ("alignment 8", [add_tensors], 8, 3, "little", None),
    ("metadata only", [], None, 3, "little", None),
    ("version 2", [add_scalars, add_tensors], 64, 2, "little", None),
    ("big endian", [add_scalars], None, 3, "big", "bad_version"),
]


def write(path, parts, alignment, version, endian):
    order = gguf.GGUFEndian.BIG if endian == "big" else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(path, "test", endianess=order)
    if alignment:
        writer.add_custom_alignment(alignment)
    for add in parts:
        add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    data = bytearray(pathlib.Path(path).read_bytes())
    if version != 3:  # version 2 has the very same layout
        data[4:8] = struct.pack("<I", version)
        pathlib.Path(path).write_bytes(data)
    return bytes(data)


def type_name(kind):
    return {"UINT": "u", "INT": "i", "FLOAT": "f"}.get(kind.name.rstrip("0123456789"), kind.name.lower()) + (
        kind.name.lstrip("UINTFLOA") if kind.name[-1].isdigit() else "")


def key_entry(field):
    kind = field.types[0]
    entry = {"key": field.name, "type": type_name(kind)}
    if kind == TYPE.ARRAY:
        entry["element"] = type_name(field.types[1])
    entry["value"] = field.contents()
    return entry


def tensor_entry(tensor, data_offset):
    data = np.ascontiguousarray(tensor.data).tobytes()
    return {
        "name": tensor.name, "dims": [int(v) for v in tensor.shape], "format": tensor.tensor_type.name,
        "offset": int(tensor.data_offset) - data_offset, "bytes": int(tensor.n_bytes), "fnv1a64": common.fnv1a64(data),
    }


def expect(path, version):
    """What the package's reader finds, in the order of the file."""
    reader = gguf.GGUFReader(path)
    fields = [f for f in reader.fields.values() if not f.name.startswith("GGUF.")]
    assert reader.fields["GGUF.version"].contents() == version
    return {
        "version": version, "alignment": int(reader.alignment), "data_offset": int(reader.data_offset),
        "keys": [key_entry(f) for f in fields],
        "tensors": [tensor_entry(t, int(reader.data_offset)) for t in reader.tensors],
    }


def check_inputs(case, parts):
    """The reader must give back what the writer was given."""
    found = {entry["key"]: entry["value"] for entry in case["keys"]}
    for name, _, values in SCALARS:
        if add_scalars in parts:
            got = [found[f"test.{name}.{i}"] for i in range(len(values))]
            want = [float(np.float32(v)) for v in values] if name == "f32" else values
            assert got == want, (name, got, want)
    if add_tensors in parts:
        assert [(t["name"], tuple(t["dims"][::-1]), t["format"]) for t in case["tensors"]] == TENSORS


def make():
    cases = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, parts, alignment, version, endian, error in CASES:
            path = pathlib.Path(temporary) / "file.gguf"
            data = write(path, parts, alignment, version, endian)
            case = {"name": name, "bytes": data.hex(), "error": error}
            if error is None:
                case.update(expect(path, version))
                check_inputs(case, parts)
            cases.append(case)
    head = common.make_head(__file__, ["gguf", "numpy"], SEED, "Apache-2.0 (generated)")
    return {"head": head, "cases": cases}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=common.GOLDEN / "gguf" / "files.json")
    common.write_json(parser.parse_args().out, make())


if __name__ == "__main__":
    main()
