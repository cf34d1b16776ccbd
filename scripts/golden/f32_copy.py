#!/usr/bin/env python3
"""Writes a copy of a GGUF file with every tensor decoded to F32 (by the gguf package): same model, no quantised arithmetic.

With it llama.cpp computes in float32 throughout, which makes it the better oracle: what remains between it and the
quantised run is the noise of 8-bit activations. Usage: f32_copy.py IN OUT
"""

import math
import pathlib
import sys

import gguf
import numpy as np


def copy_as_f32(source, target):
    """`target` is written new. All metadata is kept except general.file_type, which becomes 0 (all F32)."""
    reader = gguf.GGUFReader(source)
    arch = reader.get_field(gguf.Keys.General.ARCHITECTURE).contents()
    writer = gguf.GGUFWriter(target, arch)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in (gguf.Keys.General.ARCHITECTURE, gguf.Keys.General.FILE_TYPE):
            continue
        kind = field.types[0]
        writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        shape = tensor.shape[::-1].tolist()
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), 4 * math.prod(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:  # one after the other: a large model is never in memory as a whole
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.write_tensor_data(np.ascontiguousarray(values.reshape(tensor.shape[::-1]), dtype=np.float32))
    writer.close()
    return pathlib.Path(target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    copy_as_f32(*sys.argv[1:])
