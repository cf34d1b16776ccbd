#!/usr/bin/env python3
"""Cuts the text that perplexity is measured on from a pinned package: docutils' essay on markup, public domain.

The sdist is fetched with pip (or given as --sdist), its SHA-256 is checked, and the first part of one file, whole lines
only, is written to tests/golden/text. Plain prose, old enough to be settled and in no way special to our model.

Usage: make_text.py [--sdist docutils-0.22.tar.gz] [--out FILE]
"""

import argparse
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import common

PACKAGE, VERSION = "docutils", "0.22"
SDIST_SHA256 = "ba9d57750e92331ebe7c08a1bbf7a7f8143b86c476acd51528b042216a6aad0f"
MEMBER = "docutils-0.22/docs/dev/rst/problems.rst"
START = "There are several problems, unresolved issues"  # behind the title block
MAX_BYTES = 20000
TEXT = common.GOLDEN / "text" / "docutils_problems.txt"


def fetch(folder):
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, f"{PACKAGE}=={VERSION}", "-d", str(folder)], check=True)
    return next(pathlib.Path(folder).glob("*.tar.gz"))


def cut(sdist):
    """The text as bytes: from START on, whole paragraphs, at most MAX_BYTES."""
    if common.sha256_file(sdist) != SDIST_SHA256:
        raise SystemExit(f"{sdist} is not the pinned {PACKAGE} {VERSION}")
    with tarfile.open(sdist) as archive:
        raw = archive.extractfile(MEMBER).read()
    raw = raw[raw.index(START.encode()) :]
    return raw[: raw.rindex(b"\n\n", 0, MAX_BYTES) + 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sdist", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=TEXT)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = cut(args.sdist or fetch(temporary))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(data)
    print(f"{args.out}: {len(data)} bytes")


if __name__ == "__main__":
    main()
