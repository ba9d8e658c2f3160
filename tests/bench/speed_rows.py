"""What the rows of decode, prompts, depth and batches measure: attar-run beside llama.cpp on the same file, and beside the memory's speed."""

import contextlib
import functools
import statistics

from attar_runs import bandwidth_share
from llama_peer import GGML_KV, NoPeer, open_peer
from table_row import Measured, in_turn

GENERATED = 64  # tokens, of 135 million parameters
DEPTH, DEEP_GENERATED = 4096, 32
BATCHED = 32  # tokens of each sequence
ATTAR_KV = ["f16", "int8"]


def compared(bench, model, n_tokens, own, theirs, sequences=1):
    """Tokens per second in turn, after one run of llama.cpp that warms up (attar-run's own has one)."""
    try:
        peer = open_peer(model, n_tokens, bench.threads, sequences=sequences)
    except NoPeer as reason:
        return Measured(None, f"{in_turn(bench.runs, own)[0]:.0f} t/s", note=str(reason))
    with peer:
        theirs(peer)
        ours, others = in_turn(bench.runs, own, lambda: theirs(peer))
    return Measured(ours / others, f"{ours:.0f} t/s", f"{others:.0f} t/s")


def decode(origin, to, count=GENERATED):
    def measure(bench):
        model = bench.models.quantized(origin, to)
        return compared(bench, model, count, lambda: bench.own.decode_speed(model, count), lambda peer: peer.decode_speed(count))

    return measure


def prompt(origin, to, count):
    def measure(bench):
        model = bench.models.quantized(origin, to)
        return compared(bench, model, count, lambda: bench.own.prompt_speed(model, count), lambda peer: peer.prompt_speed(count))

    return measure


def batch(origin, to, sequences):
    def measure(bench):
        model = bench.models.quantized(origin, to)
        return compared(bench, model, BATCHED, lambda: bench.own.decode_speed(model, BATCHED, sequences), lambda peer: peer.decode_speed(BATCHED), sequences=sequences)

    return measure


def own_batch(origin, to, sequences):
    """Beside one sequence, in the same process."""

    def measure(bench):
        model = bench.models.quantized(origin, to)
        rows = [bench.own.bench(model, "-p", 0, "-n", GENERATED, "--batch", 1, sequences)["rows"] for _ in range(bench.runs)]
        one, many = (statistics.median(speeds) for speeds in zip(*([row["median_ts"] for row in run] for run in rows), strict=True))
        return Measured(many / one, f"{many:.0f} t/s", f"{one:.0f} t/s of 1")

    return measure


def share_of(rows, left_out=()):
    speed = statistics.median(row["median_ts"] for row in rows)
    read = statistics.median(row["profile"]["read_bytes_per_s"] for row in rows)
    share = statistics.median(bandwidth_share(row, left_out) for row in rows)
    return Measured(share, f"{speed:.0f} t/s", f"of {1e-9 * read:.1f} GB/s")


def share(origin, to):
    """Of the memory's speed: the weights once a token. Without `to` the file as it is."""

    def measure(bench):
        model = bench.models.quantized(origin, to) if to else bench.models.original(origin)
        return share_of([bench.own.profiled(model, GENERATED) for _ in range(bench.runs)], ["attention"])

    return measure


@functools.cache
def deep(bench, origin, to):
    """Behind DEPTH tokens, by type of keys and values: our rows, llama.cpp's tokens per second, and why they are missing."""
    model = bench.models.quantized(origin, to)
    rows, theirs, missing = {kv: [] for kv in ATTAR_KV}, {}, ""
    with contextlib.ExitStack() as stack:
        peers = {}
        for kv in GGML_KV:
            try:
                peers[kv] = stack.enter_context(open_peer(model, DEPTH + DEEP_GENERATED, bench.threads, kv=kv))
            except NoPeer as reason:
                missing = str(reason)
                continue
            peers[kv].read_prompt(DEPTH)
            peers[kv].decode_speed(DEEP_GENERATED, DEPTH)
        for _ in range(bench.runs):
            for kv in ATTAR_KV:
                rows[kv].append(bench.own.profiled(model, DEEP_GENERATED, "-d", DEPTH, "--kv", kv))
            for kv, peer in peers.items():
                theirs.setdefault(kv, []).append(peer.decode_speed(DEEP_GENERATED, DEPTH))
    return rows, {kv: statistics.median(speeds) for kv, speeds in theirs.items()}, missing


def deep_decode(origin, to, kv):
    """Beside llama.cpp with the type of keys and values that is fastest there."""

    def measure(bench):
        rows, theirs, missing = deep(bench, origin, to)
        ours = statistics.median(row["median_ts"] for row in rows[kv])
        if not theirs:
            return Measured(None, f"{ours:.0f} t/s", note=missing)
        best = max(theirs, key=theirs.get)
        return Measured(ours / theirs[best], f"{ours:.0f} t/s", f"{theirs[best]:.0f} t/s, {best}")

    return measure


def deep_share(origin, to, kv):
    """Of the memory's speed: the weights and what is kept of keys and values once a token."""
    return lambda bench: share_of(deep(bench, origin, to)[0][kv])
