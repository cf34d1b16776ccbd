#!/usr/bin/env python3
"""Greedy tokens and logits of llama.cpp on a real model for eight fixed prompts, and the noise of its 8-bit arithmetic.

Two runs of llama.cpp are stored side by side:
  q8   the model file as it is: activations rounded to 8 bits per matrix product (llama.cpp's own way)
  f32  the same weights decoded to F32, float32 arithmetic and KV cache: the better oracle
Both are driven along the same tokens: the greedy tokens of the q8 run ("forced decoding"). Their difference is what
8-bit activations alone do to this model; `noise` holds it, and the tolerances in the head are derived from it.
In float32 it makes no difference how many tokens go through the graph at once, so that run takes prompt and forced tokens
in one piece: the large copy is read once per prompt and not once per token.

Usage: make_logits.py NAME [--f32 COPY.gguf] [--out FILE]    NAME as scripts/model lists them; the copy is temporary when absent
"""

import argparse
import pathlib
import tempfile

import gguf
import jinja2
import numpy as np

import common
import f32_copy
from llama_ref import LLAMA_CPP_COMMIT, Reference

SEED = 20261124
N_STEPS = 64
N_TOP, N_RANDOM = 256, 512
LONG = (
    "The river has always decided where people live in this valley. Two hundred years ago there were only a mill, a ferry "
    "and a row of low houses with their backs to the wind. The miller kept a book in which he wrote the height of the water "
    "every morning, and his son kept it after him, so that we know today how high the flood of 1824 rose: four steps up the "
    "church stairs, and one hand more. When the railway came, the town turned its face away from the water. Warehouses were "
    "built along the tracks, the ferry stopped, and the mill became a school. For a long time nobody looked at the river at "
    "all. It carried coal dust and dye, and in summer one closed the windows. Only when the factories had gone did the first "
    "gardens appear on the bank, and then a path, and then a bridge for walkers. Now the children learn to swim where the "
    "ferry once landed, and every spring somebody measures the water and writes the number into a book, because"
)
CODE = (
    "def binary_search(items, target):\n"
    '    """Return the index of target in the sorted list items, or -1."""\n'
    "    low, high = 0, len(items) - 1\n    while low <= high:\n"
)
PROMPTS = [
    ("plain", "The lighthouse stood at the end of the long stone pier, and every evening"),
    ("code", CODE),
    ("french", "La ville de Lyon se trouve au confluent du Rhône et de la Saône. Ses habitants"),
    ("numbers", "1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89,"),
    ("list", "Things to pack for a week in the mountains:\n\n1. A warm jacket\n2. Two pairs of boots\n3."),
    ("chat", [{"role": "user", "content": "What is the capital of France, and what is it known for?"}]),
    ("chat_turns", [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": "My name is Zoë. I like 🌲 and cafés."},
        {"role": "assistant", "content": "Nice to meet you, Zoë!"},
        {"role": "user", "content": "What do I like?"},
    ]),
    ("long", LONG),
]


def render(template, messages):
    """A chat as the model's own template writes it, ready for the answer; without a template as a dialogue in plain text."""
    if template is None:
        return "".join(f"{m['role'].capitalize()}: {m['content']}\n" for m in messages) + "Assistant:"
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(messages=messages, add_generation_prompt=True)


def run(ref, prompt_ids, forced):
    """Logits [N_STEPS, n_vocab]: after the prompt, then after each forced token (greedy where `forced` is None)."""
    ref.reset()
    rows, tokens = [ref.decode(prompt_ids)[-1]], []
    for step in range(N_STEPS):
        tokens.append(int(rows[-1].argmax()) if forced is None else forced[step])
        if step + 1 < N_STEPS:
            rows.append(ref.decode([tokens[-1]])[0])
    return np.stack(rows), tokens


def run_at_once(ref, prompt_ids, forced):
    """As run() along forced tokens, all of them in one batch."""
    ref.reset()
    return ref.decode(prompt_ids + forced[:-1], last=N_STEPS)


def two_best(rows):
    """Per step: best and second token, best logit and its distance to the second."""
    order = np.argpartition(-rows, 1, axis=1)[:, :2]
    values = np.take_along_axis(rows, order, axis=1)
    swap = values[:, 0] < values[:, 1]
    order[swap], values[swap] = order[swap][:, ::-1], values[swap][:, ::-1]
    return {
        "top1": order[:, 0].tolist(), "top2": order[:, 1].tolist(),
        "logit": [round(float(v), 4) for v in values[:, 0]],
        "gap": [round(float(v), 4) for v in values[:, 0] - values[:, 1]],
    }


def whole(row):
    """What bounds the part of the logits that is not stored."""
    row = row.astype(np.float64)
    return {"mean": round(float(row.mean()), 6), "norm": round(float(np.sqrt((row * row).sum())), 4)}


def cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def log_softmax(rows):
    rows = rows.astype(np.float64)
    rows = rows - rows.max(axis=1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))


def compare(a, b, ids):
    """How two runs along the same tokens differ; rows a, b: [N_STEPS, n_vocab], `b` is the better one.

    "after_prompt" looks at the stored positions `ids` only, as a test of ours can; the rest at the whole vocabulary.
    """
    difference = np.abs(a.astype(np.float64) - b)
    first, second = np.array(two_best(a)["top1"]), np.array(two_best(a)["top2"])
    index = np.arange(len(a))
    gap = a[index, first] - a[index, second]
    change = gap - (b[index, first] - b[index, second])
    flips = a.argmax(axis=1) != b.argmax(axis=1)
    log_a, log_b = log_softmax(a), log_softmax(b)
    return {
        "after_prompt": {
            "largest_difference": round(float(difference[0][ids].max()), 4),
            "rms_difference": round(float(np.sqrt((difference[0][ids] ** 2).mean())), 4),
            "cosine": round(cosine(a[0][ids], b[0][ids]), 6),
        },
        "largest_difference": round(float(difference.max()), 4),
        "rms_difference": round(float(np.sqrt((difference**2).mean())), 4),
        "mean_kl": round(float((np.exp(log_b) * (log_b - log_a)).sum(axis=1).mean()), 6),
        "largest_gap_change": round(float(np.abs(change).max()), 4),
        "rms_gap_change": round(float(np.sqrt((change**2).mean())), 4),
        "top1_flips": int(flips.sum()),
        "largest_gap_at_a_flip": round(float(gap[flips].max(initial=0)), 4),
    }


def stored_ids(row):
    """The positions whose logits are stored: the best N_TOP of the f32 run and N_RANDOM fixed ones."""
    words = np.frombuffer(common.stream(SEED, "positions", 8 * N_RANDOM), dtype="<u8")
    fixed = (words % np.uint64(len(row))).astype(np.int64)
    return sorted(set(np.argsort(-row)[:N_TOP].tolist()) | set(fixed.tolist()))


def one_prompt(refs, template, name, content):
    """The golden entry of one prompt. refs: the file with an f16 cache, with an f32 cache, and its F32 copy."""
    text = content if isinstance(content, str) else render(template, content)
    ref, ref_f32_cache, ref_f32 = refs
    ids = ref.tokenize(text)
    q8, tokens = run(ref, ids, None)
    f32 = run_at_once(ref_f32, ids, tokens)
    other, _ = run(ref_f32_cache, ids, tokens)  # only the cache differs: the noise of one and the same method
    ids_stored = stored_ids(f32[0])
    entry = {
        "name": name, "kind": "plain" if isinstance(content, str) else "chat", "text": text, "tokens": ids,
        "greedy": tokens, "greedy_text": ref.text(tokens), "q8": two_best(q8), "f32": two_best(f32),
        "after_prompt": {
            "ids": ids_stored,
            "q8": [round(float(v), 4) for v in q8[0][ids_stored]],
            "f32": [round(float(v), 4) for v in f32[0][ids_stored]],
            "q8_whole": whole(q8[0]), "f32_whole": whole(f32[0]),
        },
        "noise": {
            "q8_to_f32": compare(q8, f32, ids_stored),
            "q8_with_f32_cache_to_f32": compare(other, f32, ids_stored),
            "q8_to_q8_with_f32_cache": compare(q8, other, ids_stored),
        },
    }
    print(name, len(ids), repr(entry["greedy_text"][:60]), entry["noise"], flush=True)
    return entry


def tolerances(prompts):
    """What an engine with properly rounded 8-bit activations of its own may differ: it is one more draw of the noise.

    f32, from two measured draws (llama.cpp with an f16 and with an f32 cache). top1_gap: 3.3 standard deviations of the
    change of the top-2 gap (one flip in 2,000 at the very limit). After the prompt: 1.5 times the worst measured; lost
    cosine grows with the square, so 2.25 times. most_flips: twice the measured number over all prompts and steps.
    q8: two independent draws, ours and llama.cpp's, so times sqrt 2 (lost cosine times 2).
    """
    draws = [[p["noise"][key] for p in prompts] for key in ("q8_to_f32", "q8_with_f32_cache_to_f32")]
    noise = [entry for draw in draws for entry in draw]
    sigma = np.sqrt(np.mean([n["rms_gap_change"] ** 2 for n in noise]))
    start = [n["after_prompt"] for n in noise]
    flips = 2 * max(sum(n["top1_flips"] for n in draw) for draw in draws)
    out = {}
    for name, variance in (("f32", 1), ("q8", 2)):
        factor = variance**0.5
        out[name] = {
            "top1_gap": round(float(3.3 * sigma * factor), 2),
            "most_flips": round(flips * factor),
            "largest_difference": round(1.5 * factor * max(n["largest_difference"] for n in start), 2),
            "rms_difference": round(1.5 * factor * max(n["rms_difference"] for n in start), 2),
            "cosine": round(1 - 2.25 * variance * max(1 - n["cosine"] for n in start), 5),
        }
    return out


def make(about, copy):
    model = about["path"]
    template = gguf.GGUFReader(model).get_field(gguf.Keys.Tokenizer.CHAT_TEMPLATE)
    template = template and template.contents()
    refs = [Reference(model, kv="f16"), Reference(model, kv="f32"), Reference(copy, kv="f32")]
    prompts = [one_prompt(refs, template, name, content) for name, content in PROMPTS]
    for ref in refs:
        ref.close()
    head = common.make_head(
        __file__, ["llama-cpp-python", "gguf", "numpy", "jinja2"], SEED,
        f"prompts and numbers Apache-2.0; model {pathlib.Path(model).stem}: {about['license']}",
        llama_cpp_commit=LLAMA_CPP_COMMIT, model_sha256=about["sha256"],
        settings={"n_gpu_layers": 0, "flash_attention": False, "threads": 2, "kv_cache": {"q8": "f16", "f32": "f32"},
                  "prompt": "one batch", "forced tokens": {"q8": "one by one", "f32": "in the batch of the prompt"},
                  "cpu": "AVX2, no OpenMP"},
        tolerance=tolerances(prompts),
        tolerance_rule=" ".join(tolerances.__doc__.split()),
    )
    return {"head": head, "prompts": prompts}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of a model that scripts/model fetches")
    parser.add_argument("--f32", type=pathlib.Path, help="F32 copy made by f32_copy.py")
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    about = common.real_model(args.name)
    with tempfile.TemporaryDirectory() as temporary:
        copy = args.f32 or f32_copy.copy_as_f32(about["path"], pathlib.Path(temporary) / "f32.gguf")
        golden = make(about, copy)
    print(golden["head"]["tolerance"])
    common.write_json(args.out or common.GOLDEN / "logits" / f"{args.name}.json", golden)


if __name__ == "__main__":
    main()
