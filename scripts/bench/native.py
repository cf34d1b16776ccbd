"""Times llama.cpp on the CPU through the low-level functions of llama_cpp (ctypes); started by scripts/bench/native.

Works: prefill:N and decode:N in tokens/s, ttft:N in ms, cpu:N in CPU seconds for N tokens, load:cold and load:warm in s
(llama.cpp maps the file, so both mean a warm page cache). Prompts are the same token ids as in the browser (pages/prompt.mjs).
Prints one JSON line per work and a first one about the library.
"""
import argparse
import json
import os
import sys
import time

import llama_cpp as api
import numpy as np

UNITS = {"prefill": "tokens/s", "decode": "tokens/s", "ttft": "ms", "cpu": "s", "load": "s"}


def prompt(count, vocabulary):
    """The same ids as promptIds in pages/prompt.mjs."""
    state, ids, span = 12345, [], min(30000, vocabulary) - 1000
    for _ in range(count):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        ids.append(1000 + (state >> 8) % span)
    return ids


def run_queue_wait():
    """Seconds that threads of this process were ready to run and did not."""
    wait = 0
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/schedstat", encoding="ascii") as file:
                wait += int(file.read().split()[1])
        except OSError:
            pass
    return wait * 1e-9


class Model:
    def __init__(self, path, threads, context):
        start = time.perf_counter()
        params = api.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = api.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        context_params = api.llama_context_default_params()
        context_params.n_ctx = context
        context_params.n_batch = 2048
        context_params.n_ubatch = 512
        context_params.n_threads = context_params.n_threads_batch = threads
        self.context = api.llama_init_from_model(self.model, context_params)
        self.vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        self.load_seconds = time.perf_counter() - start

    def close(self):
        api.llama_free(self.context)
        api.llama_model_free(self.model)

    def feed(self, ids):
        array = (api.llama_token * len(ids))(*ids)
        if api.llama_decode(self.context, api.llama_batch_get_one(array, len(ids))):
            sys.exit("llama_decode failed")
        api.llama_synchronize(self.context)

    def best(self):
        logits = api.llama_get_logits_ith(self.context, -1)
        # numpy's argmax on the memory itself: a Python loop would cost more than the model.
        return int(np.ctypeslib.as_array(logits, shape=(self.vocabulary,)).argmax())

    def prefill(self, count):
        """Seconds for `count` tokens into an empty context."""
        api.llama_memory_clear(api.llama_get_memory(self.context), True)
        ids = prompt(count, self.vocabulary)
        start = time.perf_counter()
        self.feed(ids)
        return time.perf_counter() - start

    def decode(self, context, steps):
        """Seconds for `steps` greedy tokens after `context` tokens."""
        self.prefill(max(context, 2))
        token = self.best()
        start = time.perf_counter()
        for _ in range(steps):
            self.feed([token])
            token = self.best()
        return time.perf_counter() - start


def measure(model, work, options):
    """One value in the unit of the work."""
    name, _, argument = work.partition(":")
    if name == "load":
        again = Model(options.model, options.threads, options.context)
        again.close()
        return again.load_seconds
    count = int(argument)
    if name == "prefill":
        return count / model.prefill(count)
    if name == "decode":
        return options.steps / model.decode(count, options.steps)
    if name == "ttft":
        start = time.perf_counter()
        model.prefill(count)
        model.best()
        return (time.perf_counter() - start) * 1e3
    if name == "cpu":
        before = time.process_time()
        model.decode(0, count)
        return time.process_time() - before
    sys.exit(f"no such work: {work}")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench/native")
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", default="prefill:128,prefill:512,decode:0,decode:1024")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--context", type=int, default=2048)
    options = parser.parse_args()
    quiet = api.llama_log_callback(lambda level, text, data: None)
    api.llama_log_set(quiet, None)
    api.llama_backend_init()
    model = Model(options.model, options.threads, options.context)
    print(json.dumps({"version": f"llama-cpp-python {api.__version__}",
                      "system": api.llama_print_system_info().decode()}), flush=True)
    model.prefill(64)
    model.decode(0, 16)
    for work in options.work.split(","):
        values, waits, seconds = [], [], []
        for _ in range(options.rounds):
            wait, start = run_queue_wait(), time.perf_counter()
            values.append(measure(model, work, options))
            seconds.append(time.perf_counter() - start)
            waits.append((run_queue_wait() - wait) / seconds[-1])
        ordered = sorted(values)
        print(json.dumps({"work": work, "unit": UNITS[work.partition(":")[0]], "values": values, "min": ordered[0],
                          "median": ordered[len(ordered) // 2], "max": ordered[-1], "wait": waits, "seconds": seconds}), flush=True)
    model.close()


if __name__ == "__main__":
    main()
