#!/usr/bin/env python3
"""Writes web/src/generated/error_codes.ts from src/base/error_codes.def, the one list of error codes.

The output is made at build time and never committed. It is only rewritten when it changes, so that
watchers and caches stay quiet. A line of the list that cannot be read is an error, not a silent gap.
"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/base/error_codes.def"
TARGET = ROOT / "web/src/generated/error_codes.ts"
ENTRY = re.compile(r'X\(\s*([a-z0-9_]+)\s*,\s*("(?:[^"\\]|\\.)*")\s*,\s*("(?:[^"\\]|\\.)*")\s*\)')


def read_codes(text):
    """List of (code, message, advice); exits with a message where the list is not understood."""
    text = re.sub(r"^\s*//.*$", "", text, flags=re.M)
    entries = [(m[1], json.loads(m[2]), json.loads(m[3])) for m in ENTRY.finditer(text)]
    rest = ENTRY.sub("", text).strip()
    if rest or not entries:
        sys.exit(f"gen_bindings: {SOURCE}: cannot read: {rest.splitlines()[0] if rest else 'no entries'}")
    codes = [code for code, _, _ in entries]
    if len(set(codes)) != len(codes):
        sys.exit(f"gen_bindings: {SOURCE}: a code is listed twice")
    return entries


def main():
    lines = ["// Made by scripts/gen_bindings.py from src/base/error_codes.def. Do not edit.", "export const kErrorCodes = {"]
    for code, message, advice in read_codes(SOURCE.read_text(encoding="utf-8")):
        lines.append(f"  {code}: {{ message: {json.dumps(message)}, advice: {json.dumps(advice)} }},")
    lines += ["} as const;", "", "export type ErrorCode = keyof typeof kErrorCodes;", ""]
    text = "\n".join(lines)
    if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
