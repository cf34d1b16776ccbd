#!/usr/bin/env python3
"""Golden token ids and splits for the strings of tests/golden/text/strings.json, by Hugging Face `tokenizers`.

- ids_<vocabulary>.json: each vocabulary is read from a GGUF file and given to `tokenizers` with the normaliser and
  pre-tokenizer of the model's published tokenizer.json. "special": ids with control tokens recognised; "plain": the
  strings (by index) whose ids differ when control tokens are plain text. Before anything is written, the tokenizer
  built here must reproduce what llama.cpp ships beside its vocabulary (ggml-vocab-*.gguf.inp/.out, made with the
  models' own tokenizers) and give back every string (after NFC where it normalises).
- splits.json: for pre-tokenizers, the lengths in characters of the pieces: digits, or letters a = 10 ... z = 35, or
  [n]. Made with `tokenizers` (Oniguruma, Unicode 16), and checked against the `regex` package with the same pattern
  (its Unicode is newer: strings where only that differs are counted and named on stdout).

The vocabularies come from `scripts/vocab NAME` and `scripts/model smollm2`.
Usage: make_tokenizer.py --models FOLDER --smollm2 FILE [--out FOLDER]
  FOLDER holds ggml-vocab-*.gguf and their .inp and .out (vendor/llama.cpp/models of llama-cpp-python 0.3.36).
"""

import argparse
import json
import pathlib
import re
import unicodedata

import gguf
import regex
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

import common

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN35 = (
    CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + CONTRACTIONS + "?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + CONTRACTIONS + "?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SEED_CODER = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
BAILING = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
DEEPSEEK_V3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CJK = r"[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+"
CJK_V3 = r"[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+"
# Cased letters of Unicode 12, as DeepSeek's tokenizer.json lists them.
DEEPSEEK_LATIN = (
    r"\s?[A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-\u02AF\u0370-\u0373"
    r"\u0376\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-\u03A1\u03A3-\u03F5\u03F7-\u0481\u048A-\u052F"
    r"\u0531-\u0556\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77"
    r"\u1D79-\u1D9A\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-\u1F7D"
    r"\u1F80-\u1FB4\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4"
    r"\u1FF6-\u1FFC\u2102\u2107\u210A-\u2113\u2115\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139"
    r"\u213C-\u213F\u2145-\u2149\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D"
    r"\uA680-\uA69B\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A"
    r"\uFF41-\uFF5A\U00010400-\U0001044F\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2"
    r"\U00010CC0-\U00010CF2\U000118A0-\U000118DF\U0001E900-\U0001E943]+"
)
DEEPSEEK_PUNCTUATION = r"\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+"

# name -> (pre-tokenizer patterns, NFC, whole pieces first)
KINDS = {
    "gpt-2": ([GPT2], False, False),
    "smollm": ([r"\p{N}", GPT2], False, False),
    "llama-bpe": ([LLAMA3], False, True),
    "qwen2": ([QWEN2], True, False),
    "deepseek-llm": ([r"[\r\n]", DEEPSEEK_LATIN, DEEPSEEK_PUNCTUATION, r"\s+$", CJK, r"\p{N}"], False, False),
    "deepseek-coder": ([r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"], False, False),
    "gpt-4o": ([O200K], False, False),
    "deepseek-v3": ([r"\p{N}{1,3}", CJK_V3, DEEPSEEK_V3], False, False),
    "qwen35": ([QWEN35], True, False),
    "tekken": ([TEKKEN], False, True),
    "seed-coder": ([SEED_CODER], False, False),
    "bailingmoe": ([BAILING], False, False),
    "falcon": ([r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"], False, False),
    "default": ([r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"], False, False),
}
# file stem -> (kind, every n-th string): all strings where this engine's models are, a sample for the rest.
VOCABULARIES = {"smollm2": ("smollm", 1), "qwen2": ("qwen2", 1), "gpt-2": ("gpt-2", 3), "llama-bpe": ("llama-bpe", 3), "deepseek-llm": ("deepseek-llm", 3), "deepseek-coder": ("deepseek-coder", 3), "qwen35": ("qwen35", 3)}
SPLITS = ["gpt-4o", "tekken", "seed-coder", "bailingmoe", "deepseek-v3", "qwen35", "deepseek-llm", "deepseek-coder", "falcon", "default"]
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


def literal(pattern):
    """\\uXXXX and \\UXXXXXXXX of the patterns above as characters (Oniguruma and regex spell them differently)."""
    return re.sub(r"\\u([0-9A-F]{4})|\\U([0-9A-F]{8})", lambda m: chr(int(m[1] or m[2], 16)), pattern)


def pre_tokenizer(kind):
    """As in the models' tokenizer.json: digits one by one by Digits, GPT-2's pattern by ByteLevel where it is alone."""
    steps = []
    for pattern in KINDS[kind][0]:
        if pattern == r"\p{N}":
            steps.append(pre_tokenizers.Digits(individual_digits=True))
        elif pattern == GPT2:
            steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True))
        else:
            steps.append(pre_tokenizers.Split(Regex(literal(pattern)), "isolated"))
    if not any(pattern == GPT2 for pattern in KINDS[kind][0]):
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return pre_tokenizers.Sequence(steps)


def field(reader, name, default=None):
    found = reader.fields.get("tokenizer.ggml." + name)
    return default if found is None else found.contents()


def build(path, kind, with_control):
    reader = gguf.GGUFReader(str(path))
    tokens, types = field(reader, "tokens"), field(reader, "token_type")
    merges = [tuple(m.split(" ")) for m in field(reader, "merges")]
    vocabulary = {t: i for i, t in enumerate(tokens) if types[i] == NORMAL}
    _, nfc, whole = KINDS[kind]
    literal_tokens = [(t, types[i]) for i, t in enumerate(tokens) if types[i] == USER_DEFINED or (types[i] == CONTROL and with_control)]
    # tokenizers gives an added token the id it has in the model's vocabulary.
    vocabulary.update({t: i for i, t in enumerate(tokens) if types[i] != NORMAL})
    result = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=whole))
    if nfc:
        result.normalizer = normalizers.NFC()
    result.pre_tokenizer = pre_tokenizer(kind)
    result.decoder = decoders.ByteLevel()
    result.add_tokens([AddedToken(t, normalized=False, special=kind_of == CONTROL) for t, kind_of in literal_tokens])
    return result


def byte_tokens_missing(path):
    """Bytes no normal token stands for alone."""
    reader = gguf.GGUFReader(str(path))
    types = field(reader, "token_type")
    have = {t for i, t in enumerate(field(reader, "tokens")) if types[i] == NORMAL}
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in printable]
    mapped = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}
    return {b for b in range(256) if mapped[b] not in have}


def check_shipped(tokenizer, stem):
    inputs = pathlib.Path(f"{stem}.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    outputs = pathlib.Path(f"{stem}.out").read_text(encoding="utf-8").splitlines()
    count = 0
    for text, line in zip(inputs, outputs):
        if str(stem).endswith("qwen35.gguf") and unicodedata.normalize("NFC", text) != text:
            continue  # llama.cpp's own answers: it does not normalise
        assert tokenizer.encode(text).ids == [int(n) for n in line.split()], (stem, text)
        count += 1
    return count


def ids_file(name, path, shipped_stem, strings, out):
    kind, every = VOCABULARIES[name]
    tokenizer, plain = build(path, kind, True), build(path, kind, False)
    checked = check_shipped(tokenizer, shipped_stem) if shipped_stem else 0
    missing = byte_tokens_missing(path)
    special, differing, lost = [], {}, []
    for index in range(0, len(strings), every):
        text = strings[index]
        ids = tokenizer.encode(text).ids
        special.append(ids)
        plain_ids = plain.encode(text).ids
        if plain_ids != ids:
            differing[index] = plain_ids
        if missing & set(text.encode()):
            lost.append(index)
        elif not KINDS[kind][1] and kind not in ("deepseek-llm", "deepseek-coder"):
            # Not where the NFC here is newer than that of tokenizers, nor where the decoder takes added tokens for
            # mapped bytes; the unit tests compare all.
            assert tokenizer.decode(ids, skip_special_tokens=False) == text, text
    packages = ["tokenizers", "gguf"]
    head = common.make_head(__file__, packages, None, "Apache-2.0 (ids); vocabulary: see README", vocabulary=path.name, vocabulary_sha256=common.sha256_file(path))
    data = {"head": head, "pre": kind, "every": every, "bytes_without_token": sorted(missing), "loses_bytes": lost, "special": special, "plain": differing}
    text = json.dumps(data, separators=(",", ":")).replace('"special":[', '"special":[\n').replace("],[", "],\n[")
    target = out / f"ids_{name}.json"
    target.write_text(text + "\n", encoding="ascii")
    print(f"{target.name}: {target.stat().st_size} bytes, {len(special)} strings, {len(differing)} differ as plain text, {len(lost)} lose bytes, {checked} shipped cases reproduced")


def lengths(pieces):
    return "".join(str(n) if n < 10 else chr(ord("a") + n - 10) if n < 36 else f"[{n}]" for n in map(len, pieces))


def split_with_regex(patterns, text):
    pieces = [text] if text else []
    for pattern in patterns:
        compiled = regex.compile(literal(pattern))
        found = []
        for piece in pieces:
            end = 0
            for match in compiled.finditer(piece):
                if match.start() > end:
                    found.append(piece[end : match.start()])
                found.append(match.group())
                end = match.end()
            if end < len(piece):
                found.append(piece[end:])
        pieces = found
    return pieces


def split_with_tokenizers(patterns, text):
    """All patterns by Split: unlike ByteLevel it leaves the characters as they are."""
    steps = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(literal(p)), "isolated") for p in patterns])
    return [piece for piece, _ in steps.pre_tokenize_str(text)]


def splits_file(strings, out):
    data = {"head": common.make_head(__file__, ["tokenizers", "regex"], None, "Apache-2.0")}
    for kind in SPLITS:
        rows, differ = [], []
        for index, text in enumerate(strings):
            pieces = split_with_tokenizers(KINDS[kind][0], text)
            if pieces != split_with_regex(KINDS[kind][0], text):
                differ.append(index)
            rows.append(lengths(pieces))
        data[kind] = rows
        print(f"splits of {kind}: regex differs for {len(differ)} strings {[strings[i][:20] for i in differ[:4]]}")
    target = out / "splits.json"
    target.write_text(json.dumps(data, separators=(",", ":")).replace('"],"', '"],\n"') + "\n", encoding="ascii")
    print(f"{target.name}: {target.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--smollm2", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=common.GOLDEN / "text")
    options = parser.parse_args()
    assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
    strings = json.loads((common.GOLDEN / "text" / "strings.json").read_text(encoding="ascii"))["strings"]
    for name in VOCABULARIES:
        stem = options.models / f"ggml-vocab-{name}.gguf"
        ids_file(name, options.smollm2 if name == "smollm2" else stem, None if name == "smollm2" else stem, strings, options.out)
    splits_file(strings, options.out)


if __name__ == "__main__":
    main()
