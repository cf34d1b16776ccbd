#!/usr/bin/env python3
"""Perplexity of a real model on the fixed text, from llama.cpp's logits, scored as `nutshell perplexity` scores.

Non-overlapping windows (of 512 tokens if SHAPES does not say otherwise), each from an empty cache; BOS is the first of each where the file asks for it. Every
position after the first of a window is scored with the logits of the position before it (511 of 512); only whole
windows. Perplexity = exp of the mean negative log-likelihood (natural log, log-softmax in float64). Three runs: the file as
it is with an f16 and with an f32 cache (their distance is the noise of 8-bit activations), and the same weights decoded to
F32.

Usage: make_perplexity.py NAME [--f32 COPY.gguf] [--out FILE]    NAME as scripts/model lists them; the copy is temporary when absent
"""

import argparse
import pathlib
import struct
import tempfile

import numpy as np

import common
import f32_copy
from llama_ref import LLAMA_CPP_COMMIT, Reference
from make_text import TEXT

# Tokens of a window, and windows: Gemma's are longer than its sliding window of 512, a large model has fewer.
SHAPE = (512, 8)
SHAPES = {"gemma3": (1024, 4), "qwen-coder": (512, 4)}
LIMIT = 0.005  # the project's promise: within 0.5 %


def window_nll(ref, ids):
    """Sum of the negative log-likelihoods of ids[1:]."""
    ref.reset()
    total = 0.0
    for row, next_id in zip(ref.decode(ids, last=len(ids)), ids[1:]):
        row = row.astype(np.float64)
        top = row.max()
        total += top + np.log(np.exp(row - top).sum()) - row[next_id]
    return float(total)


def score(path, kv, windows):
    width = len(windows[0])
    ref = Reference(path, kv=kv, step=width, context=width)
    nll = [window_nll(ref, ids) for ids in windows]
    ref.close()
    scored = len(windows) * (width - 1)
    return {
        "perplexity": round(float(np.exp(sum(nll) / scored)), 6), "scored": scored,
        "window_mean_nll": [round(value / (width - 1), 6) for value in nll],
    }


def make(name, about, copy):
    model = about["path"]
    width, n_windows = SHAPES.get(name, SHAPE)
    ref = Reference(model)
    bos, ids = ref.tokenize(""), ref.tokenize(TEXT.read_text(encoding="utf-8"))
    ref.close()
    ids = ids[len(bos) :]
    each = width - len(bos)
    assert len(ids) >= each * n_windows, len(ids)
    windows = [bos + ids[i * each : (i + 1) * each] for i in range(n_windows)]
    used = sum(windows, [])
    runs = {"q8": score(model, "f16", windows), "q8_with_f32_cache": score(model, "f32", windows),
            "f32": score(copy, "f32", windows)}
    print(runs)
    head = common.make_head(
        __file__, ["llama-cpp-python", "gguf", "numpy"], 0,
        f"text: public domain (see tests/golden/text); model {pathlib.Path(model).stem}: {about['license']}",
        llama_cpp_commit=LLAMA_CPP_COMMIT, model_sha256=about["sha256"],
        text=f"tests/golden/text/{TEXT.name}", text_sha256=common.sha256_file(TEXT),
        tolerance={"relative": LIMIT, "measured_noise": round(max(
            abs(run["perplexity"] / runs["f32"]["perplexity"] - 1) for run in runs.values()), 6)},
    )
    return {
        "head": head, "window": width, "windows": n_windows, "tokens": len(used), "text_tokens": len(ids),
        "first_ids": used[:16], "last_ids": used[-16:],
        "ids_fnv1a64": common.fnv1a64(struct.pack(f"<{len(used)}I", *used)), "runs": runs,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of a model that scripts/model fetches")
    parser.add_argument("--f32", type=pathlib.Path, help="F32 copy made by f32_copy.py")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    about = common.real_model(args.name)
    with tempfile.TemporaryDirectory() as temporary:
        copy = args.f32 or f32_copy.copy_as_f32(about["path"], pathlib.Path(temporary) / "f32.gguf")
        golden = make(args.name, about, copy)
    common.write_json(args.out or common.GOLDEN / "logits" / f"{args.name}_ppl.json", golden)


if __name__ == "__main__":
    main()
