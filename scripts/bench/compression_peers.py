"""Makes llama.cpp's quantised files of a model and measures their distance to it; started by scripts/bench/compression with
the Python that has llama-cpp-python. Reads one JSON object from stdin: {model, calibration, evaluation, types, tokens,
calibration_tokens, context, threads, folder}. Prints one JSON line per type: {type, bytes, perplexity, mean_kl,
top1_agreement, scored, imatrix}; the first one is the model itself.

The importance matrix is what llama.cpp's own tool collects: the mean square of every input of a weight, over the calibration
text, here gathered through the evaluation callback of the library.
"""
import concurrent.futures
import ctypes
import json
import os
import sys

import llama_cpp as api
import numpy as np

_quiet = api.llama_log_callback(lambda level, text, data: None)
api.llama_log_set(_quiet, ctypes.c_void_p(0))


class Tensor(ctypes.Structure):
    """The head of ggml_tensor (ggml.h), as far as it is read here."""


Tensor._fields_ = [("type", ctypes.c_int), ("buffer", ctypes.c_void_p), ("ne", ctypes.c_int64 * 4), ("nb", ctypes.c_size_t * 4),
                   ("op", ctypes.c_int), ("op_params", ctypes.c_int32 * 16), ("flags", ctypes.c_int32),
                   ("src", ctypes.POINTER(Tensor) * 10), ("view_src", ctypes.c_void_p), ("view_offs", ctypes.c_size_t),
                   ("data", ctypes.c_void_p), ("name", ctypes.c_char * 64)]


class Collector:
    """Sums of squares of the inputs, by the weight's name."""

    def __init__(self):
        self.sums, self.counts = {}, {}
        self.callback = api.ggml_backend_sched_eval_callback(self.on_node)

    def on_node(self, pointer, ask, _):
        node = ctypes.cast(pointer, ctypes.POINTER(Tensor)).contents
        if not (node.src[0] and node.src[1]):
            return not ask
        weight, x = node.src[0].contents, node.src[1].contents
        name = weight.name.decode("utf-8", "replace")
        wanted = name.endswith(".weight") and weight.ne[1] > 1 and x.type == 0 and x.ne[0] == weight.ne[0] and x.ne[2] == 1
        if ask or not wanted:
            return wanted or not ask
        rows = x.ne[1]
        if x.nb[1] != 4 * x.ne[0]:
            return True
        values = np.ctypeslib.as_array(ctypes.cast(x.data, ctypes.POINTER(ctypes.c_float)), shape=(rows, x.ne[0]))
        self.sums[name] = self.sums.get(name, 0.0) + (values.astype(np.float64) ** 2).sum(axis=0)
        self.counts[name] = self.counts.get(name, 0) + rows
        return True

    def matrix(self):
        return {name: (total / self.counts[name]).astype(np.float32) for name, total in self.sums.items()}


class Model:
    def __init__(self, path, context, threads, callback=None):
        params = api.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = api.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        self.vocab = api.llama_model_get_vocab(self.model)
        self.n_vocab = api.llama_vocab_n_tokens(self.vocab)
        settings = api.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = context
        settings.n_threads = settings.n_threads_batch = threads
        settings.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        if callback is not None:
            settings.cb_eval = callback
        self.context = api.llama_init_from_model(self.model, settings)
        self.batch = api.llama_batch_init(context, 0, 1)

    def close(self):
        api.llama_batch_free(self.batch)
        api.llama_free(self.context)
        api.llama_model_free(self.model)

    def tokenize(self, text):
        raw = text.encode()
        out = (api.llama_token * (len(raw) + 8))()
        n = api.llama_tokenize(self.vocab, raw, len(raw), out, len(out), False, False)
        bos = [api.llama_vocab_bos(self.vocab)] if api.llama_vocab_get_add_bos(self.vocab) else []
        return bos + list(out[:n])

    def logits(self, ids):
        """[n, n_vocab] of every position, the text being all there is."""
        api.llama_memory_clear(api.llama_get_memory(self.context), True)
        self.batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            self.batch.token[i] = token
            self.batch.pos[i] = i
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = 0
            self.batch.logits[i] = True
        if api.llama_decode(self.context, self.batch) != 0:
            sys.exit("llama_decode failed")
        return np.ctypeslib.as_array(api.llama_get_logits(self.context), shape=(len(ids), self.n_vocab))


def quantize(source, target, kind, imatrix, threads):
    params = api.llama_model_quantize_default_params()
    params.ftype = getattr(api, f"LLAMA_FTYPE_MOSTLY_{kind}")
    params.nthread = threads
    params.allow_requantize = True
    entries = (api.llama_model_imatrix_data * (len(imatrix) + 1))()
    keep = []
    for entry, (name, values) in zip(entries, sorted(imatrix.items())):
        keep += [name.encode(), values]
        entry.name = keep[-2]
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    if imatrix:
        params.imatrix = entries
    if api.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) != 0:
        raise RuntimeError(f"llama.cpp could not write {kind}")


class Score:
    """Sums over the positions scored so far."""

    def __init__(self):
        self.nll = self.kl = 0.0
        self.agreed = self.scored = 0

    def add(self, nll, kl, agreed, scored):
        self.nll += nll
        self.kl += kl
        self.agreed += agreed
        self.scored += scored

    def row(self):
        return {"perplexity": float(np.exp(self.nll / self.scored)), "mean_kl": self.kl / self.scored,
                "top1_agreement": self.agreed / self.scored, "scored": self.scored}


def compare(p, q, following):
    """What Score.add takes, of logits p of the original and q of another model, both [n, n_vocab] and finite. With logits less
    their row's maximum KL is sum(exp(p) (p - q)) / Z_p - log Z_p + log Z_q: one exponential a value."""
    p, q = p - p.max(axis=1, keepdims=True), q - q.max(axis=1, keepdims=True)
    rows = np.arange(len(following))
    log_zq = np.log(np.exp(q).sum(axis=1).astype(np.float64))
    weights = np.exp(p)
    zp = weights.sum(axis=1).astype(np.float64)
    kl = (weights * (p - q)).sum(axis=1).astype(np.float64) / zp - np.log(zp) + log_zq
    return float((log_zq - q[rows, following]).sum()), float(kl.sum()), int((p.argmax(axis=1) == q.argmax(axis=1)).sum()), len(rows)


def compare_rows(threads, score, p, q, following):
    """compare() in pieces that stay in the cache, shared out over the threads (numpy lets go of the lock inside)."""
    few = max(1, (1 << 18) // p.shape[1])
    for sums in threads.map(lambda at: compare(p[at:at + few], q[at:at + few], following[at:at + few]), range(0, len(following), few)):
        score.add(*sums)


def read(paths, limit=None):
    text = "\n\n".join(open(path, encoding="utf-8").read() for path in paths)
    return text[:limit]


def collect(job):
    collector = Collector()
    model = Model(job["model"], job["context"], job["threads"], collector.callback)
    ids = model.tokenize(read(job["calibration"]))
    have = len(ids) // job["context"]
    want = min(have, job["calibration_tokens"] // job["context"])
    for i in range(want):  # windows from all over the text, as the compressor takes them
        at = i * have // want * job["context"]
        model.logits(ids[at:at + job["context"]])
    model.close()
    return collector.matrix()


def main():
    job = json.load(sys.stdin)
    imatrix = collect(job) if job["calibration"] else {}
    original = Model(job["model"], job["context"], job["threads"])
    files, scores = {}, {}
    for kind in job["types"]:
        path = os.path.join(job["folder"], f"{kind}.gguf")
        quantize(job["model"], path, kind, imatrix, job["threads"])
        files[kind] = (path, Model(path, job["context"], job["threads"]))
        scores[kind] = Score()
    itself = Score()
    threads = concurrent.futures.ThreadPoolExecutor(job["threads"])
    ids = original.tokenize(read(job["evaluation"]))[:job["tokens"]]
    for at in range(0, len(ids), job["context"]):
        window = ids[at:at + job["context"]]
        if len(window) < 2:
            break
        following = np.array(window[1:])
        logits = original.logits(window[:-1])
        compare_rows(threads, itself, logits, logits, following)
        for kind, (_, model) in files.items():
            compare_rows(threads, scores[kind], logits, model.logits(window[:-1]), following)
        print(f"\rllama.cpp: {at + len(window)} of {len(ids)} tokens", end="", file=sys.stderr)
    print(file=sys.stderr)
    rows = [("original", job["model"], itself)] + [(k, files[k][0], scores[k]) for k in job["types"]]
    for kind, path, score in rows:
        print(json.dumps({"type": kind, "bytes": os.path.getsize(path), "imatrix": bool(imatrix), **score.row()}), flush=True)
    for path, model in files.values():
        model.close()
        os.unlink(path)


if __name__ == "__main__":
    main()
