"""llama.cpp as the reference: load a GGUF, decode tokens, read logits. Used by the makers only, never by the product.

Needs `llama-cpp-python` (built from its sdist) and numpy. Flash attention is off and the model stays on the CPU, so that
a run depends on few choices: the type of the KV cache, the threads and how many tokens are decoded at once.
"""

import ctypes

import llama_cpp
import numpy as np

LLAMA_CPP_COMMIT = "0c1e57098"  # what llama-cpp-python 0.3.36 carries, from its CHANGELOG
KV_TYPES = {"f32": 0, "f16": 1}

_quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)


class Reference:
    """One model and one context. `step` = how many tokens go through the graph at once in `decode`."""

    def __init__(self, path, kv="f16", threads=2, step=512, context=1024, embed=False):
        llama_cpp.llama_log_set(_quiet, ctypes.c_void_p(0))
        model = llama_cpp.llama_model_default_params()
        model.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), model)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = params.n_ubatch = step
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.type_k = params.type_v = KV_TYPES[kv]
        params.embeddings = embed  # vectors of tokens instead of logits
        if embed:
            params.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("llama.cpp cannot make a context")
        self.step = step
        self.batch = llama_cpp.llama_batch_init(step, 0, 1)
        self.position = 0

    def close(self):
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)

    def tokenize(self, text, special=True):
        """Token ids without BOS or EOS beyond what the file itself asks for."""
        raw = text.encode()
        out = (llama_cpp.llama_token * (len(raw) + 8))()
        count = llama_cpp.llama_tokenize(self.vocab, raw, len(raw), out, len(out), True, special)
        assert count >= 0
        return list(out[:count])

    def text(self, ids):
        """The bytes of `ids`, special tokens shown."""
        out = b""
        buffer = ctypes.create_string_buffer(512)
        for token in ids:
            count = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, True)
            out += buffer.raw[:count]
        return out.decode("utf-8", errors="replace")

    def reset(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        self.position = 0

    def decode(self, ids, last=1):
        """Appends `ids` to the sequence. Logits [last, n_vocab] of the last ones of them, float32."""
        rows, first = [], len(ids) - last
        for start in range(0, len(ids), self.step):
            piece = ids[start : start + self.step]
            batch = self.batch
            batch.n_tokens = len(piece)
            for i, token in enumerate(piece):
                batch.token[i] = token
                batch.pos[i] = self.position + i
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = 0
                batch.logits[i] = start + i >= first
            if llama_cpp.llama_decode(self.context, batch) != 0:
                raise SystemExit("llama_decode failed")
            self.position += len(piece)
            for i in range(max(0, first - start), len(piece)):
                pointer = llama_cpp.llama_get_logits_ith(self.context, i)
                rows.append(np.ctypeslib.as_array(pointer, shape=(self.n_vocab,)).copy())
        return np.stack(rows)

    def embeddings(self, ids):
        """Vectors [n, n_embd] of all of `ids` as one text, before pooling; needs embed=True."""
        self.decode(ids, last=len(ids))
        width = llama_cpp.llama_model_n_embd(self.model)
        pointers = [llama_cpp.llama_get_embeddings_ith(self.context, i) for i in range(len(ids))]
        return np.stack([np.ctypeslib.as_array(p, shape=(width,)).copy() for p in pointers])
