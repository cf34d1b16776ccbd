#!/usr/bin/env python3
"""Perplexity of SmolLM2 on the fixed text, from llama.cpp's logits, scored as `nutshell perplexity` scores.

Non-overlapping windows of 512 tokens, each from an empty cache, no BOS; every position after the first of a window is
scored with the logits of the position before it (511 per window); only whole windows. Perplexity = exp of the mean
negative log-likelihood (natural log, log-softmax in float64). Three runs: the file as it is with an f16 and with an f32
cache (their distance is the noise of 8-bit activations), and the same weights decoded to F32.

Usage: make_perplexity.py MODEL.gguf [--f32 COPY.gguf] [--out FILE]
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

WINDOW, N_WINDOWS = 512, 8
LIMIT = 0.005  # the project's promise: within 0.5 %


def window_nll(ref, ids):
    """Sum of the negative log-likelihoods of ids[1:]."""
    ref.reset()
    logits = ref.decode(ids, every=True)[:-1].astype(np.float64)
    top = logits.max(axis=1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float((log_sum - logits[np.arange(len(ids) - 1), ids[1:]]).sum())


def score(path, kv, ids):
    ref = Reference(path, kv=kv, step=WINDOW, context=WINDOW)
    nll = [window_nll(ref, ids[i * WINDOW : (i + 1) * WINDOW]) for i in range(N_WINDOWS)]
    ref.close()
    scored = N_WINDOWS * (WINDOW - 1)
    return {
        "perplexity": round(float(np.exp(sum(nll) / scored)), 6), "scored": scored,
        "window_mean_nll": [round(value / (WINDOW - 1), 6) for value in nll],
    }


def make(model, copy):
    ref = Reference(model)
    ids = ref.tokenize(TEXT.read_text(encoding="utf-8"))
    ref.close()
    assert len(ids) >= WINDOW * N_WINDOWS, len(ids)
    used = ids[: WINDOW * N_WINDOWS]
    runs = {"q8": score(model, "f16", used), "q8_with_f32_cache": score(model, "f32", used), "f32": score(copy, "f32", used)}
    head = common.make_head(
        __file__, ["llama-cpp-python", "gguf", "numpy"], 0, "text: public domain (see tests/golden/text); model Apache-2.0",
        llama_cpp_commit=LLAMA_CPP_COMMIT, model_sha256=common.sha256_file(model),
        text=f"tests/golden/text/{TEXT.name}", text_sha256=common.sha256_file(TEXT),
        tolerance={"relative": LIMIT, "measured_noise": round(max(
            abs(run["perplexity"] / runs["f32"]["perplexity"] - 1) for run in runs.values()), 6)},
    )
    return {
        "head": head, "window": WINDOW, "windows": N_WINDOWS, "tokens": len(used), "text_tokens": len(ids),
        "first_ids": used[:16], "last_ids": used[-16:],
        "ids_fnv1a64": common.fnv1a64(struct.pack(f"<{len(used)}I", *used)), "runs": runs,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--f32", type=pathlib.Path, help="F32 copy made by f32_copy.py")
    parser.add_argument("--out", type=pathlib.Path, default=common.GOLDEN / "logits" / "smollm2_ppl.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        copy = args.f32 or f32_copy.copy_as_f32(args.model, pathlib.Path(temporary) / "f32.gguf")
        golden = make(args.model, copy)
    common.write_json(args.out, golden)


if __name__ == "__main__":
    main()
