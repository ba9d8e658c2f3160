"""Speed of attar-run and, where 'make peers' was run, of llama.cpp's own library on the same files, in turn.

    compare.py build/bin/attar-run [MODEL.gguf ...]        (default: the packaged SmolLM2)

Prints medians of prompt (512 tokens) and generation (128 tokens) speed, and the ratio. Two threads, or as many as there are.
"""

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
THREADS = os.cpu_count()


def attar(program, model):
    out = subprocess.run([program, "bench", model, "-p", str(PROMPT), "-n", str(GENERATED), "-r", "1", "-t", str(THREADS), "--json", "--quiet"], check=True, capture_output=True)
    rows = json.loads(out.stdout)["rows"]
    return rows[0]["median_ts"], rows[1]["median_ts"]


class LlamaCpp:
    """llama.cpp with its default settings."""

    def __init__(self, model):
        library = llama_cpp.library()
        self.lib = library.lib
        library.context_params = self.defaults
        self.model = llama_cpp.Model(library, model, PROMPT + GENERATED, THREADS)

    def defaults(self, n_tokens, threads):
        params = self.lib.llama_context_default_params()
        at = llama_cpp.find(params.ints(), (4, 4))
        for i in range(3):
            params.set(i, n_tokens)
        params.set(at, threads), params.set(at + 1, threads)
        return params

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


def main():
    program, models = sys.argv[1], sys.argv[2:] or [smollm2()]
    print(f"{'file':40} {'':10} {'prompt':>10} {'generation':>12}   tokens/s, medians of {REPETITIONS}, {THREADS} threads")
    for model in models:
        try:
            peer = LlamaCpp(model)
            peer.measure()
        except BaseException as reason:  # pytest's skip is one
            print(reason)
            peer = None
        ours, theirs = [], []
        for _ in range(REPETITIONS):
            ours.append(attar(program, model))
            if peer:
                theirs.append(peer.measure())
        rows = {"attar": [statistics.median(values) for values in zip(*ours, strict=True)]}
        if theirs:
            rows["llama.cpp"] = [statistics.median(values) for values in zip(*theirs, strict=True)]
            rows["ratio"] = [a / b for a, b in zip(rows["attar"], rows["llama.cpp"], strict=True)]
        for name, (prompt, generation) in rows.items():
            print(f"{pathlib.Path(model).name[:40]:40} {name:10} {prompt:10.2f} {generation:12.2f}")


main()
