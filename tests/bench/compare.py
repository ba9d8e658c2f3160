"""Speed of attar-run and, where 'make peers' was run, of llama.cpp's own library on the same files, in turn.

    compare.py build/bin/attar-run [--depth TOKENS] [--threads N] [MODEL.gguf ...]        (default: the packaged SmolLM2)

Prints medians of prompt (512 tokens) and generation (128 tokens) speed, and the ratio; with --depth of generation alone (32 tokens) behind
so many tokens, for each type of keys and values. As many threads as there are processors, unless told otherwise.
"""

import argparse
import ctypes
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import llama_cpp
from conftest import smollm2

PROMPT, GENERATED, REPETITIONS = 512, 128, 5
DEEP_GENERATED = 32  # behind --depth tokens
BATCH = 512  # tokens that llama.cpp is given at once
THREADS = os.cpu_count()
GGML_KV = {"f16": 1, "q8_0": 8}  # ggml types of keys and values


def attar(program, model):
    out = subprocess.run([program, "bench", model, "-p", str(PROMPT), "-n", str(GENERATED), "-r", "1", "-t", str(THREADS), "--json", "--quiet"], check=True, capture_output=True)
    rows = json.loads(out.stdout)["rows"]
    return rows[0]["median_ts"], rows[1]["median_ts"]


def attar_deep(program, model, depth, kv):
    command = [program, "bench", model, "-p", "0", "-n", str(DEEP_GENERATED), "-d", str(depth), "-r", "3", "-t", str(THREADS), "--kv", kv, "--json", "--quiet"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["rows"][0]["median_ts"]


class LlamaCpp:
    """llama.cpp with its default settings, and a type of keys and values."""

    def __init__(self, model, n_tokens=PROMPT + GENERATED, kv="f16"):
        library = llama_cpp.library()
        library.lib.llama_memory_seq_rm.restype = ctypes.c_bool
        library.lib.llama_memory_seq_rm.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]
        self.lib, self.kv = library.lib, GGML_KV[kv]
        library.context_params = self.defaults
        self.model = llama_cpp.Model(library, model, n_tokens, THREADS)

    def defaults(self, n_tokens, threads):
        params = self.lib.llama_context_default_params()
        values = params.ints()
        at = llama_cpp.find(values, (4, 4))
        params.set(0, n_tokens)
        for i in (1, 2):  # n_batch, n_ubatch
            params.set(i, max(BATCH, PROMPT + GENERATED))
        params.set(at, threads), params.set(at + 1, threads)
        at = llama_cpp.find(values, (1, 1), llama_cpp.find(values, (-1, -1, -1, -1)) + 4)  # types of keys and values: F16
        params.set(at, self.kv), params.set(at + 1, self.kv)
        return params

    def fill(self, depth):
        for first in range(0, depth, BATCH):
            self.feed(first, min(BATCH, depth - first))

    def measure_deep(self, depth):
        """Tokens per second behind the `depth` tokens that it was filled with."""
        memory = ctypes.c_void_p(self.lib.llama_get_memory(self.model.context))
        assert self.lib.llama_memory_seq_rm(memory, 0, depth, -1)
        start = time.perf_counter()
        for i in range(DEEP_GENERATED):
            self.feed(depth + i, 1)
        return DEEP_GENERATED / (time.perf_counter() - start)

    def feed(self, first, count):
        batch = self.model.batch
        batch.n_tokens = count
        for i in range(count):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = (first + i) * 7919 % 10000 + 11, first + i, 1, int(i + 1 == count)
            batch.seq_id[i][0] = 0
        assert self.lib.llama_decode(self.model.context, batch) == 0
        self.lib.llama_get_logits_ith(self.model.context, count - 1)

    def measure(self):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.model.context), True)
        start = time.perf_counter()
        self.feed(0, PROMPT)
        middle = time.perf_counter()
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.model.context), True)
        begin = time.perf_counter()
        for i in range(GENERATED):
            self.feed(i, 1)
        return PROMPT / (middle - start), GENERATED / (time.perf_counter() - begin)


def peer(*arguments):
    """llama.cpp where it is there and loads the model, else None and why."""
    try:
        return LlamaCpp(*arguments)
    except BaseException as reason:  # pytest's skip is one
        print(reason)
        return None


def compare_deep(program, models, depth):
    print(f"{'file':40} generation behind {depth} tokens: tokens/s, medians of {REPETITIONS}, {THREADS} threads")
    for model in models:
        peers = {f"llama.cpp {kv}": peer(model, depth + DEEP_GENERATED, kv) for kv in GGML_KV}
        for one in filter(None, peers.values()):
            one.fill(depth)
        runs = {}
        for _ in range(REPETITIONS):
            for kv in ("f16", "int8"):
                runs.setdefault(f"attar {kv}", []).append(attar_deep(program, model, depth, kv))
            for name, one in peers.items():
                if one:
                    runs.setdefault(name, []).append(one.measure_deep(depth))
        medians = {name: statistics.median(values) for name, values in runs.items()}
        theirs = max((value for name, value in medians.items() if name.startswith("llama")), default=None)
        for name, value in medians.items():
            ratio = f"   {value / theirs:.2f} of llama.cpp's best" if theirs and name.startswith("attar") else ""
            print(f"{pathlib.Path(model).name[:40]:40} {name:14} {value:10.2f}{ratio}")


def compare(program, models):
    print(f"{'file':40} {'':10} {'prompt':>10} {'generation':>12}   tokens/s, medians of {REPETITIONS}, {THREADS} threads")
    for model in models:
        other = peer(model)
        if other:
            other.measure()
        ours, theirs = [], []
        for _ in range(REPETITIONS):
            ours.append(attar(program, model))
            if other:
                theirs.append(other.measure())
        rows = {"attar": [statistics.median(values) for values in zip(*ours, strict=True)]}
        if theirs:
            rows["llama.cpp"] = [statistics.median(values) for values in zip(*theirs, strict=True)]
            rows["ratio"] = [a / b for a, b in zip(rows["attar"], rows["llama.cpp"], strict=True)]
        for name, (prompt, generation) in rows.items():
            print(f"{pathlib.Path(model).name[:40]:40} {name:10} {prompt:10.2f} {generation:12.2f}")


def main():
    global THREADS
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("models", nargs="*")
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--threads", type=int, default=THREADS)
    given = parser.parse_args()
    THREADS = given.threads
    models = given.models or [smollm2()]
    if given.depth:
        compare_deep(given.program, models, given.depth)
    else:
        compare(given.program, models)


main()
