#!/usr/bin/env python3
"""Writes src/text/unicode_bert.inc: the character properties of BERT's text cleaning, asked of Hugging Face `tokenizers`.

BERT's own code takes them from Python's unicodedata, `tokenizers` from older tables of its own; ids must equal the
latter's, so each code point is given to its BertNormalizer and BertPreTokenizer and what they do is written down:
characters that cleaning removes, marks that stripping accents removes (after NFD), characters that are words of their
own (punctuation), and lower case.

Usage: make_bert_unicode.py [--check]
  --check compares with the committed file and fails when it differs.
"""

import argparse
import sys

import tokenizers
from tokenizers import normalizers, pre_tokenizers

import common

WIDTH = 110
OFF = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}


def bert(name):
    return normalizers.BertNormalizer(**{**OFF, name: True})


def ranges(code_points):
    found = []
    for c in code_points:
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return [f"0x{a:X},0x{b:X}" for a, b in found]


def lower_runs(pairs):
    """(first, last, step, distance): characters first, first + step ... last, each with its lower case at that distance."""
    runs = []
    for c, low in pairs:
        if runs and runs[-1][3] == low - c:
            first, last, step, _ = runs[-1]
            if (last == first and c - last <= 2) or (last != first and c - last == step):
                runs[-1] = (first, c, c - last, low - c)
                continue
        runs.append((c, c, 1, low - c))
    return [f"0x{a:X},0x{b:X},{s},{d}" for a, b, s, d in runs]


def rows(values):
    line, lines = "", []
    for value in values:
        if len(line) + len(value) + 1 > WIDTH:
            lines.append(line)
            line = ""
        line += value + ","
    return "\n".join(lines + [line]) + "\n"


def array(comment, kind, name, values):
    return f"// {comment}\nconstexpr {kind} {name}[] = {{\n{rows(values)}}};\n"


def make():
    clean, accents, lower = bert("clean_text"), bert("strip_accents"), bert("lowercase")
    nfd, pieces = normalizers.NFD(), pre_tokenizers.BertPreTokenizer()
    removed, marks, punctuation, pairs = [], [], [], []
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000:
            continue
        character = chr(c)
        if clean.normalize_str(character) == "":
            removed.append(c)
        if nfd.normalize_str(character) == character and accents.normalize_str(character) == "":
            marks.append(c)
        if len(pieces.pre_tokenize_str(f"a{character}b")) == 3:
            punctuation.append(c)
        low = lower.normalize_str(character)
        if low != character:
            if len(low) == 1:
                pairs.append((c, ord(low)))
            else:
                assert (c, low) == (0x130, "i\u0307"), (c, low)  # NFD comes first and takes it apart
    return (
        f"// Made by scripts/golden/make_bert_unicode.py from tokenizers {tokenizers.__version__}; do not edit.\n"
        + array("First, last: what cleaning removes.", "uint32_t", "kRemoved", ranges(removed))
        + array("First, last: what stripping accents removes.", "uint32_t", "kMarks", ranges(marks))
        + array("First, last: characters that are words of their own.", "uint32_t", "kPunctuation", ranges(punctuation))
        + array("First, last, step, distance to the lower case.", "int32_t", "kLower", lower_runs(pairs))
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    path = common.ROOT / "src" / "text" / "unicode_bert.inc"
    text = make()
    if not options.check:
        path.write_text(text, encoding="ascii")
        print(f"{path.relative_to(common.ROOT)}: {len(text)} bytes, {text.count(chr(10))} lines")
    elif path.read_text(encoding="ascii") != text:
        sys.exit(f"{path.relative_to(common.ROOT)} differs from what tokenizers does")


if __name__ == "__main__":
    main()
