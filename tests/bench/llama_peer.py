"""llama.cpp as a peer in speed: its library, which 'make peers' fetches, in this process, with its default settings and a type of keys and values."""

import copy
import ctypes
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import llama_cpp

BATCH = 512  # tokens that it is given at once
GGML_KV = {"f16": 1, "q8_0": 8}  # ggml types of keys and values
FIRST_TOKEN, STRIDE, SPREAD = 11, 7919, 10000  # ids that every vocabulary of a real model has


class NoPeer(Exception):
    """Why llama.cpp does not answer, in one line."""


class LlamaCpp(llama_cpp.Model):
    """A file in llama.cpp, for `sequences` of at most `n_tokens` tokens each."""

    def __init__(self, model, n_tokens, threads, kv="f16", sequences=1):
        library = copy.copy(llama_cpp.library())  # whose settings are these
        library.context_params = self.context_params
        library.lib.llama_memory_seq_rm.restype = ctypes.c_bool
        library.lib.llama_memory_seq_rm.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]
        library.lib.llama_n_seq_max.restype = ctypes.c_uint32
        library.lib.llama_n_seq_max.argtypes = [ctypes.c_void_p]
        self.kv, self.sequences = GGML_KV[kv], sequences
        super().__init__(library, model, sequences * -(-n_tokens // 256) * 256, threads)
        if self.lib.llama_n_seq_max(self.context) < sequences:
            self.close()
            raise RuntimeError("llama_context_params of this llama.cpp has n_seq_max elsewhere")
        self.memory = ctypes.c_void_p(self.lib.llama_get_memory(self.context))

    def context_params(self, n_tokens, threads):
        params = self.lib.llama_context_default_params()
        values = params.ints()
        params.set(0, n_tokens)
        params.set(1, BATCH), params.set(2, BATCH)  # n_batch, n_ubatch
        if self.sequences > 1:
            params.set(3, self.sequences)  # n_seq_max, by default 1
        at = llama_cpp.find(values, (4, 4))
        params.set(at, threads), params.set(at + 1, threads)
        at = llama_cpp.find(values, (1, 1), llama_cpp.find(values, (-1, -1, -1, -1)) + 4)  # types of keys and values: F16
        params.set(at, self.kv), params.set(at + 1, self.kv)
        return params

    def read(self, rows):
        """One call for rows of (position, sequence), of which the last of each sequence is answered."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (position, sequence) in enumerate(rows):
            batch.token[i], batch.pos[i] = position * STRIDE % SPREAD + FIRST_TOKEN + sequence, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            batch.logits[i] = int(i + self.sequences >= len(rows))
        if self.lib.llama_decode(self.context, batch) != 0:
            raise self.failure("run the file")
        self.lib.llama_get_logits_ith(self.context, len(rows) - 1)

    def read_prompt(self, count):
        """Of the first sequence, which is empty."""
        for first in range(0, count, BATCH):
            self.read([(position, 0) for position in range(first, min(first + BATCH, count))])

    def forget(self, depth):
        """All but the first `depth` tokens of each sequence."""
        for sequence in range(self.sequences):
            if not self.lib.llama_memory_seq_rm(self.memory, sequence, depth, -1):
                raise RuntimeError("llama.cpp does not forget the end of a text")

    def prompt_speed(self, count):
        """Tokens per second of a prompt."""
        self.forget(0)
        begin = time.perf_counter()
        self.read_prompt(count)
        return count / (time.perf_counter() - begin)

    def decode_speed(self, count, depth=0):
        """Tokens per second of all sequences together, a token each a call, behind what stands in the first `depth` positions."""
        self.forget(depth)
        begin = time.perf_counter()
        for position in range(depth, depth + count):
            self.read([(position, sequence) for sequence in range(self.sequences)])
        return self.sequences * count / (time.perf_counter() - begin)


def open_peer(model, n_tokens, threads, **more):
    """A LlamaCpp. NoPeer where it is missing or cannot run the file."""
    if not llama_cpp.library_folder().exists():
        raise NoPeer("no llama.cpp: make peers")
    try:
        return LlamaCpp(model, n_tokens, threads, **more)
    except (RuntimeError, OSError, AttributeError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise NoPeer(" ".join(dict.fromkeys([lines[0], lines[-1]]))) from error


def release():
    """Which llama.cpp this is; None where it is missing."""
    said = llama_cpp.library_folder() / "_nlcBuildMetadata.json"
    return json.loads(said.read_text())["buildOptions"]["llamaCpp"]["release"] if said.exists() else None
