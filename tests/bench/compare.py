"""Speed of attar-run and, where 'make peers' was run, of llama.cpp's own library on the same files, in turn.

    compare.py build/bin/attar-run [--depth TOKENS] [--threads N] [MODEL.gguf ...]        (default: the packaged SmolLM2)

Prints medians of prompt (512 tokens) and generation (128 tokens) speed, and the ratio; with --depth of generation alone (32 tokens) behind
so many tokens, for each type of keys and values. As many threads as there are processors, unless told otherwise.
"""

import argparse
import os
import pathlib
import statistics
import sys

from attar_runs import AttarRuns
from llama_peer import GGML_KV, NoPeer, open_peer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import smollm2

PROMPT, GENERATED, REPETITIONS = 512, 128, 5
DEEP_GENERATED = 32  # behind --depth tokens


def attar(own, model):
    rows = own.bench(model, "-p", PROMPT, "-n", GENERATED)["rows"]
    return rows[0]["median_ts"], rows[1]["median_ts"]


def attar_deep(own, model, depth, kv):
    return own.document("bench", model, "-p", 0, "-n", DEEP_GENERATED, "-d", depth, "-r", 3, "-t", own.threads, "--kv", kv)["rows"][0]["median_ts"]


def llama(other):
    return other.prompt_speed(PROMPT), other.decode_speed(GENERATED)


def peer(*arguments, **more):
    """llama.cpp where it is there and loads the model, else None and why."""
    try:
        return open_peer(*arguments, **more)
    except NoPeer as reason:
        print(reason)
        return None


def compare_deep(own, models, depth):
    print(f"{'file':40} generation behind {depth} tokens: tokens/s, medians of {REPETITIONS}, {own.threads} threads")
    for model in models:
        peers = {f"llama.cpp {kv}": peer(model, depth + DEEP_GENERATED, own.threads, kv=kv) for kv in GGML_KV}
        for one in filter(None, peers.values()):
            one.read_prompt(depth)
        runs = {}
        for _ in range(REPETITIONS):
            for kv in ("f16", "int8"):
                runs.setdefault(f"attar {kv}", []).append(attar_deep(own, model, depth, kv))
            for name, one in peers.items():
                if one:
                    runs.setdefault(name, []).append(one.decode_speed(DEEP_GENERATED, depth))
        medians = {name: statistics.median(values) for name, values in runs.items()}
        theirs = max((value for name, value in medians.items() if name.startswith("llama")), default=None)
        for name, value in medians.items():
            ratio = f"   {value / theirs:.2f} of llama.cpp's best" if theirs and name.startswith("attar") else ""
            print(f"{pathlib.Path(model).name[:40]:40} {name:14} {value:10.2f}{ratio}")


def compare(own, models):
    print(f"{'file':40} {'':10} {'prompt':>10} {'generation':>12}   tokens/s, medians of {REPETITIONS}, {own.threads} threads")
    for model in models:
        other = peer(model, max(PROMPT, GENERATED), own.threads)
        if other:
            llama(other)
        ours, theirs = [], []
        for _ in range(REPETITIONS):
            ours.append(attar(own, model))
            if other:
                theirs.append(llama(other))
        rows = {"attar": [statistics.median(values) for values in zip(*ours, strict=True)]}
        if theirs:
            rows["llama.cpp"] = [statistics.median(values) for values in zip(*theirs, strict=True)]
            rows["ratio"] = [a / b for a, b in zip(rows["attar"], rows["llama.cpp"], strict=True)]
        for name, (prompt, generation) in rows.items():
            print(f"{pathlib.Path(model).name[:40]:40} {name:10} {prompt:10.2f} {generation:12.2f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("models", nargs="*")
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    own, models = AttarRuns(given.program, given.threads), given.models or [smollm2()]
    if given.depth:
        compare_deep(own, models, given.depth)
    else:
        compare(own, models)


main()
