#!/usr/bin/env python3
"""Writes src/text/unicode_classes.inc and src/text/unicode_nfc.inc: the Unicode properties the tokenizers need.

They are data, not code, and committed, so that native and wasm builds alike need no Unicode library and no tool.
- classes: general categories of Unicode 16.0, the version of the regular expressions in Hugging Face tokenizers 0.23
  (found by asking it for every code point; tests/golden/text holds the comparison). Source: unicodedata2 16.0.0.
- NFC: characters of Unicode 9.0, the version of tokenizers' NFC normaliser: a later character has no decomposition
  and class 0 there, and ids must be equal. Unicode's stability policy makes "16.0, restricted to characters assigned
  in 9.0" the same as 9.0. Source: unicodedata2 16.0.0 and the table in the source archive of unicodedata2 9.0.0
  (`pip download --no-deps --no-binary :all: unicodedata2==9.0.0`).

Usage: make_unicode.py --nine unicodedata2-9.0.0.tar.gz [--check]
  --check compares with the committed files and fails when they differ.
"""

import argparse
import re
import sys
import tarfile

import unicodedata2

import common

CLASSES = ["other", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "N", "P", "S", "space"]  # order of CharClass in unicode.h
WHITE_SPACE_CONTROLS = {0x9, 0xA, 0xB, 0xC, 0xD, 0x85}  # property White_Space = these and category Z
LIMIT = 0x110000
WIDTH = 110


def char_class(c):
    category = unicodedata2.category(chr(c))
    if c in WHITE_SPACE_CONTROLS or category[0] == "Z":
        return CLASSES.index("space")
    for name in (category, category[0]):
        if name in CLASSES:
            return CLASSES.index(name)
    return 0


def assigned_in_nine(path):
    """The set of code points with a category in Unicode 9.0, from the C tables of the archive."""
    with tarfile.open(path) as archive:
        name = next(n for n in archive.getnames() if n.endswith("/unicodedata_db.h"))
        text = archive.extractfile(name).read().decode("ascii")
    assert '"9.0.0"' in text, "not the archive of Unicode 9.0.0"

    def array(pattern):
        return [int(n) for n in re.findall(r"\d+", re.search(pattern + r"[^{]*\{(.*?)\};", text, re.S).group(1))]

    shift = int(re.search(r"#define SHIFT (\d+)", text).group(1))
    index1, index2 = array(r"unsigned \w+ index1\[\]"), array(r"unsigned \w+ index2\[\]")
    body = re.search(r"_PyUnicode_Database_Records\[\] = \{(.*?)\n\};", text, re.S).group(1)
    categories = [int(row.split(",")[0]) for row in re.findall(r"\{([^}]*)\}", body)]
    mask = (1 << shift) - 1
    return {c for c in range(LIMIT) if categories[index2[(index1[c >> shift] << shift) + (c & mask)]]}


def rows(values):
    """Values joined by commas into lines of the project's width."""
    line, lines = "", []
    for value in values:
        piece = value + ","
        if len(line) + len(piece) > WIDTH:
            lines.append(line)
            line = ""
        line += piece
    return "\n".join(lines + [line]) + "\n"


def array(comment, declaration, values):
    return f"{comment}constexpr uint32_t {declaration}[] = {{\n{rows(values)}}};\n"


def classes_file():
    starts, previous = [], None
    for c in range(LIMIT):
        current = char_class(c)
        if current != previous:
            starts.append(f"0x{c << 4 | current:X}")
        previous = current
    return (
        "// Made by scripts/golden/make_unicode.py from Unicode 16.0; do not edit..\n"
        "// Each entry is code point << 4 | class (order of CharClass): the class holds up to the next entry.\n"
        + array("", "kClassStarts", starts)
    )


def nfc_file(nine):
    pairs, others, marks = [], [], []
    for c in sorted(nine):
        if 0xAC00 <= c <= 0xD7A3:  # Hangul syllables: by arithmetic
            continue
        text = unicodedata2.decomposition(chr(c))
        if text and not text.startswith("<"):
            parts = [int(p, 16) for p in text.split()]
            parts = (parts + [0])[:2]
            composes = unicodedata2.normalize("NFC", chr(c)) == chr(c)
            (pairs if composes else others).append(f"0x{c:X},0x{parts[0]:X},0x{parts[1]:X}")
        combining = unicodedata2.combining(chr(c))
        if combining:
            marks.append((c, combining))
    ranges = []
    for c, combining in marks:
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == combining:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, combining])
    return (
        "// Made by scripts/golden/make_unicode.py from Unicode 9.0; do not edit..\n"
        + array("// Composite, first, second: canonical pairs that NFC composes again.\n", "kComposing", pairs)
        + array("// Character, first, second or 0: canonical decompositions that NFC leaves decomposed.\n", "kDecomposeOnly", others)
        + array("// First, last, canonical combining class (never 0).\n", "kCombining", [f"0x{a:X},0x{b:X},{k}" for a, b, k in ranges])
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nine", required=True)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    assert unicodedata2.unidata_version == "16.0.0", unicodedata2.unidata_version
    folder = common.ROOT / "src" / "text"
    same = True
    for name, text in (
        ("unicode_classes.inc", classes_file()),
        ("unicode_nfc.inc", nfc_file(assigned_in_nine(options.nine))),
    ):
        path = folder / name
        if options.check:
            if path.read_text(encoding="ascii") != text:
                print(f"{path.relative_to(common.ROOT)} differs from what the packages say", file=sys.stderr)
                same = False
        else:
            path.write_text(text, encoding="ascii")
            print(f"{path.relative_to(common.ROOT)}: {len(text)} bytes, {text.count(chr(10))} lines")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
