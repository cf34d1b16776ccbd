"""What every golden maker shares: the head, the compact JSON writer, a repeatable byte stream, checksums.

A golden file is one JSON object whose first member is "head": generator (path of the script), packages (name -> version
of what computed the numbers), seed, date, licence. `scripts/golden/check` refuses a golden without these fields.
Only the Python standard library is used here; the makers import numpy and the reference packages themselves.
"""

import ast
import datetime
import hashlib
import json
import pathlib
import subprocess
from importlib import metadata

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
HEAD_FIELDS = ("generator", "packages", "seed", "date", "licence")


def constants_sha256(generator):
    """Checksum of a maker's arguments: its top-level UPPER_CASE constants that need no import to evaluate.

    It tells a changed prompt or seed from a reworded comment without running the maker.
    """
    known = {}
    for node in ast.parse(pathlib.Path(generator).read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign):
            continue
        try:
            exec(compile(ast.Module([node], []), str(generator), "exec"), {"__builtins__": {}}, known)
        except (NameError, TypeError, AttributeError):
            continue  # computed from an import: not an argument
    text = json.dumps({k: repr(v) for k, v in known.items() if k.isupper()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_head(generator, packages, seed, licence, **more):
    """The head of a golden file; `packages` are distribution names, their installed versions are looked up."""
    versions = {name: metadata.version(name) for name in packages}
    return {
        "generator": str(pathlib.Path(generator).resolve().relative_to(ROOT)),
        "packages": versions,
        "seed": seed,
        "date": datetime.date.today().isoformat(),
        "licence": licence,
        "constants_sha256": constants_sha256(generator),
        **more,
    }


def write_json(path, data):
    """Writes `data` with one line per member, and one line per entry of a list of objects: small and still diffable."""

    def compact(value):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    lines = []
    for key, value in data.items():
        if key == "head":
            text = json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n    " + ",\n    ".join(compact(entry) for entry in value) + "\n  ]"
        else:
            text = compact(value)
        lines.append(f"  {json.dumps(key)}: {text}")
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}: {path.stat().st_size} bytes")


def without_date(data):
    """The golden without what may differ between two honest runs: date and package versions."""
    head = {k: v for k, v in data["head"].items() if k not in ("date", "packages")}
    return {**data, "head": head}


def stream(seed, label, count):
    """`count` repeatable bytes: SHA-256 of seed, label and a counter. The same on every machine and version."""
    out = bytearray()
    index = 0
    while len(out) < count:
        out += hashlib.sha256(f"{seed}:{label}:{index}".encode()).digest()
        index += 1
    return bytes(out[:count])


def fnv1a64(data):
    """FNV-1a, 64 bits, as 16 hex digits: a checksum that a C++ test computes in three lines."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def sha256_file(path):
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def real_model(name):
    """What scripts/model knows of a model that is in the cache: path, bytes, sha256, license."""
    about = json.loads(subprocess.check_output([ROOT / "scripts/model", "--describe", name], text=True))
    if not pathlib.Path(about["path"]).exists():
        raise SystemExit(f"{name} is not here yet: scripts/model {name}")
    return about
