#!/usr/bin/env python3
"""Golden embeddings of all-MiniLM-L6-v2 (fp32) by `transformers`: the vector of 200 texts.

The vector is what sentence-transformers makes: the mean of the last hidden states over the text's tokens, divided by its
length; texts are cut to 512 tokens ([CLS] and [SEP] included). Weights and arithmetic are float64 here; the head says how
far float32 is away. Of the texts, some are prose (sentences of tests/golden/text/docutils_problems.txt, public domain),
some hard Unicode (tests/golden/text/strings.json), some made up below: empty, long, exactly as long as the model reads.

A vector is stored as 12-bit numbers, two characters of ALPHABET a value: value = (code - 2048) / 2047 * scale. The head's
"storage_angle" is the largest angle (radians) between a vector and what is stored of it, so a test can tell an angle of
acos(0.9999) = 0.0141 from less.

Usage: make_embeddings.py --minilm FOLDER [--out FILE]          FOLDER: what `scripts/model minilm` prints
"""

import argparse
import json
import pathlib
import re

import numpy as np
import torch
import transformers

import common

COUNT, PROSE, UNICODE = 200, 120, 52
MOST_TOKENS = 512
STEP = 61  # every so many of the strings
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
OWN = [
    "",
    "   ",
    "walnut",
    "How does a walnut tree grow?",
    "A seedling needs years before it bears nuts.",
    "The squirrel hides what it cannot eat in autumn.",
    "Wie w\u00e4chst ein Walnussbaum?",
    "\u80e1\u6843\u6811\u662f\u600e\u4e48\u751f\u957f\u7684\uff1f",
    "[CLS] special [SEP] tokens [MASK] in the text [PAD]",
    "UPPER CASE and \u00c0cc\u00e9nts \u00e9t\u00e9",
    "3.14159 * 2 = 6.28318; 10% of $1,000,000",
    "def f(x):\n    return x ** 2  # a comment",
    "{\"key\": [1, 2, 3], \"other\": null}",
    "https://example.org/path?query=value&other=1#fragment",
    "one two three four five six seven eight nine ten " * 6,
    "The same words again. " * 20,
    "a " * 100,
    "unbelievably hyperparameterisation electroencephalographically " * 12,
    "the " * (MOST_TOKENS - 2),
    "the " * (MOST_TOKENS - 1),
    "How does a walnut tree grow? " * 120,
    "\u80e1\u6843" * 300,
    "x" * 101,
    "x" * 100,
    "Hello! How are you? I am fine, thank you; and you?",
    "\U0001f95c \U0001f330 \U0001f43f",
    "The end.",
    "No.",
]


def prose():
    """The first PROSE sentences of the public-domain text."""
    text = (common.GOLDEN / "text" / "docutils_problems.txt").read_text(encoding="utf-8")
    paragraphs = [" ".join(p.split()) for p in re.split(r"\n\s*\n", text)]
    sentences = [s for p in paragraphs for s in re.split(r"(?<=[.?!:])\s+", p) if 25 <= len(s) <= 400]
    return sentences[:PROSE]


def texts():
    strings = json.loads((common.GOLDEN / "text" / "strings.json").read_text(encoding="utf-8"))["strings"]
    hard = [s for s in strings[::STEP] if s.strip()][:UNICODE]
    every = prose() + hard + OWN
    if len(every) != COUNT or len(set(every)) != COUNT:
        raise SystemExit(f"{len(every)} texts, {len(set(every))} of them different; {COUNT} are wanted")
    return every


def embed(model, ids):
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    mean = hidden.mean(dim=0).double()
    return (mean / mean.norm()).numpy()


def store(vector):
    scale = float(np.float32(np.abs(vector).max()))
    codes = np.rint(vector / scale * 2047).astype(int).clip(-2047, 2047) + 2048
    return scale, "".join(ALPHABET[c >> 6] + ALPHABET[c & 63] for c in codes), (codes - 2048) / 2047 * scale


def angle(a, b):
    """Between two vectors; exact for small ones, unlike acos."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return float(2 * np.arcsin(min(1.0, np.linalg.norm(a - b) / 2)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minilm", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=common.GOLDEN / "embeddings" / "minilm.json")
    args = parser.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.minilm)
    single = transformers.AutoModel.from_pretrained(args.minilm, dtype=torch.float32).eval()
    double = transformers.AutoModel.from_pretrained(args.minilm, dtype=torch.float64).eval()
    entries, storage, of_single = [], 0.0, 0.0
    for text in texts():
        whole = len(tokenizer(text, truncation=False, padding=False)["input_ids"])
        ids = tokenizer(text, truncation=True, max_length=MOST_TOKENS, padding=False)["input_ids"]
        vector = embed(double, ids)
        scale, code, stored = store(vector)
        storage = max(storage, angle(stored, vector))
        of_single = max(of_single, angle(embed(single, ids), vector))
        entries.append({"text": text, "tokens": len(ids), "truncated": whole > len(ids), "scale": scale, "vector": code})
    head = common.make_head(
        __file__, ["transformers", "torch", "tokenizers", "numpy"], 0,
        "texts: public domain and made up; model all-MiniLM-L6-v2 Apache-2.0",
        model_sha256=common.sha256_file(args.minilm / "model.safetensors"), pooling="mean", dtype="float64",
        storage_angle=float(f"{storage * 1.01:.2g}"), angle_of_transformers_in_float32=float(f"{of_single:.2g}"),
        alphabet=ALPHABET)
    common.write_json(args.out, {"head": head, "texts": entries})


if __name__ == "__main__":
    main()
