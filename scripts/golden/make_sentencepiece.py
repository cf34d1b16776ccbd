#!/usr/bin/env python3
"""Golden token ids of SentencePiece for the strings of tests/golden/text/strings.json: ids_<vocabulary>.json.

The model proto is rebuilt from a GGUF file (gguf package) and given to the Python `sentencepiece`. "plain": ids of the
whole string; "marked": of every 40th string i the ids of MARKS[0] + string i + MARKS[1] + string i+1, where the control
tokens MARKS are cut out and the stretches between are texts of their own. "agrees" in the head: for how many of the strings `transformers`, whose tokenizer is made from
the same file by its own converter, says the same (all but those named on stdout); llama.cpp's own cases beside its
vocabulary are compared too.

Usage: make_sentencepiece.py --gemma3 FILE --models FOLDER [--out FOLDER]
"""

import argparse
import json
import pathlib

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb
from transformers import AutoTokenizer

import common

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"


def field(reader, name, default=None):
    found = reader.fields.get("tokenizer.ggml." + name)
    return default if found is None else found.contents()


def load(path):
    reader = gguf.GGUFReader(str(path))
    tokens, types, scores = (field(reader, n) for n in ("tokens", "token_type", "scores"))
    unknown = field(reader, "unknown_token_id", 0)
    model = pb.ModelProto()
    for i, (token, kind, score) in enumerate(zip(tokens, types, scores)):
        kind = CONTROL if kind == UNKNOWN else kind
        if kind == USER_DEFINED:
            token = token.replace(" ", SPACE)
        model.pieces.add(piece=token, score=score, type=UNKNOWN if i == unknown else kind)
    model.trainer_spec.model_type = pb.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = BYTE in types
    model.normalizer_spec.add_dummy_prefix = field(reader, "add_space_prefix", True)
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString()), tokens


def make(name, path, strings, out, marks, shipped=None):
    processor, tokens = load(path)
    first, second = map(tokens.index, marks)
    plain = [processor.encode(text) for text in strings]
    marked = [[first, *plain[i], second, *plain[i + 1]] for i in range(0, len(strings) - 1, 40)]
    cases = "none"
    if shipped:
        inputs = pathlib.Path(f"{shipped}.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
        outputs = pathlib.Path(f"{shipped}.out").read_text(encoding="utf-8").splitlines()
        equal = [processor.encode(t) == [int(n) for n in line.split()] for t, line in zip(inputs, outputs)]
        cases = f"{sum(equal)} of {len(equal)} equal"
    other = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    differ = [i for i, text in enumerate(strings) if other.encode(text, add_special_tokens=False) != plain[i]]
    print(f"{name}: transformers differs for {len(differ)}: {[strings[i][:30] for i in differ[:12]]}; llama.cpp's cases: {cases}")
    head = common.make_head(
        __file__, ["sentencepiece", "transformers", "gguf"], None, "Apache-2.0 (ids); vocabulary: see README",
        vocabulary=path.name, vocabulary_sha256=common.sha256_file(path),
        agrees=f"transformers: {len(strings) - len(differ)} of {len(strings)}", llama_cpp_cases=cases,
    )
    text = json.dumps({"head": head, "plain": plain, "marks": marks, "marked": marked}, separators=(",", ":")).replace("],[", "],\n[")
    (out / f"ids_{name}.json").write_text(text + "\n", encoding="ascii")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gemma3", type=pathlib.Path, required=True)
    parser.add_argument("--models", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=common.GOLDEN / "text")
    options = parser.parse_args()
    strings = json.loads((common.GOLDEN / "text" / "strings.json").read_text(encoding="ascii"))["strings"]
    make("gemma3", options.gemma3, strings, options.out, ["<start_of_turn>", "<end_of_turn>"])
    llama = options.models / "ggml-vocab-llama-spm.gguf"
    make("llama-spm", llama, strings, options.out, ["<s>", "</s>"], llama)


if __name__ == "__main__":
    main()
