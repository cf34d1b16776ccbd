#!/usr/bin/env python3
"""Golden token ids of WordPiece for the strings of tests/golden/text/strings.json and some of words, by `transformers`.

- ids_minilm.json: the tokenizer.json of all-MiniLM-L6-v2 (scripts/model minilm) as `transformers` reads it, and its cased
  twin (lower case and stripping of accents off). "special": ids with [CLS] ... recognised where they stand in the text;
  "plain": by index, where they differ as plain text; "cased": as "special" of the twin, for every fifth string.
  BERT's strings are few words in many scripts: WORDS adds what its algorithm decides.
- The same ids hold for the vocabulary file bert-bge of llama-cpp-python (scripts/vocab bert-bge): it has the same tokens,
  which is checked here, and llama.cpp's own cases beside it are reproduced.

Usage: make_wordpiece.py --minilm FOLDER --models FOLDER [--out FILE]
"""

import argparse
import json
import pathlib

import gguf
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import common

WORDS = [
    "Hello, World! It's unaffable-ness: re-tokenization (2024) costs $9.99 or 50%...",
    "\u00c9l\u00e8ve na\u00efve \u00c5ngstr\u00f6m \u0130stanbul STRASSE stra\u00dfe \u03a3\u0399\u03a3\u03a5\u03a6\u039f\u03a3",
    "\u4f60\u597d\u4e16\u754c\u3002 \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \ud55c\uad6d\uc5b4 \u9fa6\U00020000\U0002f800",
    "x" * 100,
    "x" * 101,
    "supercalifragilisticexpialidocious" * 3,
    "qz\u0e01\u0e49\u0e33 \u0939\u093f\u0928\u094d\u0926\u0940 \u05e9\u05dc\u05d5\u05dd \u0645\u064e\u0631\u062d\u064e\u0628\u0627",
    "[CLS] the [MASK] sat [SEP] on [UNK] [PAD] [mask] [CLS ]",
    "tab\there\r\nand\u00a0there\u2003em\u200bzero\u200dwidth\ufeffbom\u00adsoft",
    "e\u0301e\u0308 a\u0323\u0302 \u1e9b\u0323 \ufb01 \u2460 \u00bd \u33a0",
    "##ing ## #a ##",
    "don't can't we'll `tick` ~tilde~ ^caret^ a_b|c {d} <e> \\f",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f emoji",
    "",
    "   ",
]


def bare(tokenizer):
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minilm", type=pathlib.Path, required=True)
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=common.GOLDEN / "text" / "ids_minilm.json")
    options = parser.parse_args()
    source = json.loads((options.minilm / "tokenizer.json").read_text(encoding="utf-8"))
    special = bare(Tokenizer.from_str(json.dumps(source)))
    plain = bare(Tokenizer.from_str(json.dumps({**source, "added_tokens": []})))
    cased = json.loads(json.dumps(source))
    cased["normalizer"]["lowercase"] = False
    cased = bare(Tokenizer.from_str(json.dumps(cased)))

    lines = (options.minilm / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert {t: i for i, t in enumerate(lines)} == source["model"]["vocab"]
    bge = options.models / "ggml-vocab-bert-bge.gguf"
    tokens = gguf.GGUFReader(str(bge)).fields["tokenizer.ggml.tokens"].contents()
    brackets = {t for t in lines if t.startswith("[") and t.endswith("]")}
    assert tokens == [t[2:] if t.startswith("##") else t if t in brackets else "\u2581" + t for t in lines]
    inputs = pathlib.Path(f"{bge}.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    outputs = pathlib.Path(f"{bge}.out").read_text(encoding="utf-8").splitlines()
    checked = sum(ids(special, text) == [int(n) for n in line.split()] for text, line in zip(inputs, outputs))

    strings = json.loads((common.GOLDEN / "text" / "strings.json").read_text(encoding="ascii"))["strings"]
    texts = WORDS + strings
    rows = [ids(special, text) for text in texts]
    differing = {i: ids(plain, text) for i, text in enumerate(texts) if ids(plain, text) != rows[i]}
    head = common.make_head(
        __file__, ["transformers", "tokenizers", "gguf"], None, "Apache-2.0",
        vocabulary="all-MiniLM-L6-v2/vocab.txt", vocabulary_sha256=common.sha256_file(options.minilm / "vocab.txt"),
        llama_cpp_cases=f"{checked} of {len(outputs)} equal",
    )
    data = {"head": head, "words": WORDS, "special": rows, "plain": differing, "cased": [ids(cased, t) for t in texts[::5]]}
    text = json.dumps(data, separators=(",", ":")).replace("],[", "],\n[")
    options.out.write_text(text + "\n", encoding="ascii")
    print(f"{options.out.name}: {options.out.stat().st_size} bytes, {len(rows)} strings, {len(differing)} differ as plain text, {checked}/{len(outputs)} of llama.cpp's cases")


if __name__ == "__main__":
    main()
