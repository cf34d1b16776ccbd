#!/usr/bin/env python3
"""Writes web/src/generated/ from the lists of the core: error_codes.ts from src/base/error_codes.def, options.ts from
src/engine/options.def.

The output is made at build time and never committed. It is only rewritten when it changes, so that watchers and caches
stay quiet. A line of a list that cannot be read is an error, not a silent gap.
"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "web/src/generated"
TEXT = r'("(?:[^"\\]|\\.)*")'
ERROR = re.compile(rf"X\(\s*([a-z0-9_]+)\s*,\s*{TEXT}\s*,\s*{TEXT}\s*\)")
OPTION = re.compile(rf"OPTION\(\s*[a-z0-9_.]+\s*,\s*{TEXT}\s*,\s*([a-z]+)\s*,\s*{TEXT}\s*\)")
KINDS = {"integer": "number", "number": "number", "boolean": "boolean"}


def read_list(source, entry):
    """The entries of a .def file as tuples of their fields; exits where a line is not understood or a name is double."""
    text = re.sub(r"^\s*//.*$", "", (ROOT / source).read_text(encoding="utf-8"), flags=re.M)
    entries = [tuple(json.loads(field) if field[0] == '"' else field for field in m.groups()) for m in entry.finditer(text)]
    rest = entry.sub("", text).strip()
    if rest or not entries:
        sys.exit(f"gen_bindings: {source}: cannot read: {rest.splitlines()[0] if rest else 'no entries'}")
    names = [fields[0] for fields in entries]
    if len(set(names)) != len(names):
        sys.exit(f"gen_bindings: {source}: a name is listed twice")
    return entries


def error_codes(source):
    lines = ["export const kErrorCodes = {"]
    for code, message, advice in read_list(source, ERROR):
        lines.append(f"  {code}: {{ message: {json.dumps(message)}, advice: {json.dumps(advice)} }},")
    return [*lines, "} as const;", "", "export type ErrorCode = keyof typeof kErrorCodes;"]


def options(source):
    lines = ["/** The options of a generation that the core reads by this list. */", "export interface CoreOptions {"]
    for name, kind, sentence in read_list(source, OPTION):
        if kind not in KINDS:
            sys.exit(f"gen_bindings: {source}: {name}: no kind '{kind}'")
        lines += [f"  /** {sentence} */", f"  {name}?: {KINDS[kind]};"]
    return [*lines, "}"]


def write(name, source, make):
    head = f"// Made by scripts/gen_bindings.py from {source}. Do not edit."
    text = "\n".join([head, *make(source), ""])
    target = TARGET / name
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write("error_codes.ts", "src/base/error_codes.def", error_codes)
    write("options.ts", "src/engine/options.def", options)
