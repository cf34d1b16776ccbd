#!/usr/bin/env python3
"""Golden Unicode properties, asked of Hugging Face `tokenizers` code point by code point: tests/golden/text/unicode.json.

One FNV-1a sum per 4,096 code points (surrogates left out), so that a difference names its place:
- classes: one byte per code point, its class in the order of CharClass (src/text/unicode.h), from the regular
  expressions \\p{Lu}, \\p{Ll} ... and \\s;
- nfc: the bytes of NFC of, per code point c, the lines  c | c U+0301 | a c U+0323 | U+1100 c.

Usage: make_tokenizer_unicode.py [--out FILE]
"""

import argparse

from tokenizers import Regex, normalizers, pre_tokenizers

import common

CLASSES = [r"\p{Lu}", r"\p{Ll}", r"\p{Lt}", r"\p{Lm}", r"\p{Lo}", r"\p{M}", r"\p{N}", r"\p{P}", r"\p{S}", r"\s"]
CHUNK = 4096


def chunk(index):
    return [chr(c) for c in range(index * CHUNK, (index + 1) * CHUNK) if not 0xD800 <= c < 0xE000]


def class_bytes(characters, matchers):
    text = "".join(characters)
    found = {}
    for number, matcher in enumerate(matchers, 1):
        for piece, _ in matcher.pre_tokenize_str(text):
            for c in piece:
                assert c not in found, "classes overlap"
                found[c] = number
    return bytes(found.get(c, 0) for c in characters)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=common.GOLDEN / "text" / "unicode.json")
    options = parser.parse_args()
    matchers = [pre_tokenizers.Split(Regex(p), "removed", invert=True) for p in CLASSES]
    nfc = normalizers.NFC()
    classes, normal = [], []
    for index in range(0x110000 // CHUNK):
        characters = chunk(index)
        classes.append(common.fnv1a64(class_bytes(characters, matchers)))
        text = "".join(f"{c}\n{c}\u0301\na{c}\u0323\n\u1100{c}\n" for c in characters)
        normal.append(common.fnv1a64(nfc.normalize_str(text).encode()))
    head = common.make_head(__file__, ["tokenizers"], None, "Apache-2.0")
    common.write_json(options.out, {"head": head, "chunk": CHUNK, "classes": classes, "nfc": normal})


if __name__ == "__main__":
    main()
