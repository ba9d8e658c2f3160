"""What the rows of use measure, of attar-run alone: generated text, start-up, memory, prompt lookup, a machine that others use too, the program's size."""

import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

from attar_runs import AttarRuns
from bench_models import ROOT
from table_row import Measured, NotMeasured, in_turn

OPENING = "Once upon a time"
SEEDS = 8  # that are tried for a text that does not end too soon
STARTS = 15
BUSY_GENERATED = 64

LOOKUP = 15  # guesses: with the last token as many rows as the kernel of few rows takes
ANSWER = 96  # tokens
PASSAGES, WORDS = [1, 5, 25], 120  # of held_out.txt: on volcanoes, of a newspaper, on sleep
SYSTEM = "You are a helpful AI assistant."
TASKS = [
    "Summarize this text, in its own words:",
    "Correct the spelling of this text and write all of it again:",
    "Write this text again, with every sentence on a line of its own:",
]


def longest_text(bench, model, count):
    """A seed under which the sampled text is `count` tokens long or nearly so, and how many passes that takes."""
    passes = {}
    for seed in range(SEEDS):
        passes[seed] = bench.own.generate(model, OPENING, count, "--seed", seed)["speculation"]["passes"]
        if passes[seed] >= count:
            break
    seed = max(passes, key=passes.get)
    return seed, passes[seed]


def generate_against_bench(origin, to, count):
    """Tokens that are sampled and told, beside as many that `bench` only computes."""

    def measure(bench):
        model = bench.models.quantized(origin, to)
        seed, passes = longest_text(bench, model, count)

        def speed():
            said = bench.own.generate(model, OPENING, count, "--seed", seed)
            return said["speculation"]["passes"] / said["seconds"]

        ours, computed = in_turn(bench.runs, speed, lambda: bench.own.decode_speed(model, passes))
        return Measured(ours / computed, f"{ours:.0f} t/s", f"{computed:.0f} t/s, {passes} tokens")

    return measure


def first_token(bench):
    """From exec to the end of a process that writes one token."""
    command = [bench.own.program, "generate", str(bench.models.original("smollm2")), "--prompt", "Hello", "--max-tokens", "1"]

    def wall_ms():
        begin = time.perf_counter()
        # Without close_fds Python starts it by posix_spawn, which does not copy the tables of this large process.
        subprocess.run(command, check=True, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return 1e3 * (time.perf_counter() - begin)

    wall_ms()
    median = in_turn(max(STARTS, bench.runs), wall_ms)[0]
    return Measured(median, f"{median:.1f} ms")


def kv_bytes(inspected, tokens):
    """Of keys and values in f16."""
    return sum(2 * 2 * layer["n_kv_heads"] * layer["head_dim"] for layer in inspected["layers"]) * tokens


def peak_memory(prompt, generated):
    """The largest resident set over file, keys and values. Not of wait4: what a child is said to need at most is at least what its parent had when it began."""

    def measure(bench):
        model = bench.models.original("smollm2")
        peak = statistics.median(bench.own.bench(model, "-p", prompt, "-n", generated)["peak_rss_bytes"] for _ in range(bench.runs))
        inspected = bench.own.document("inspect", model)
        kept = kv_bytes(inspected, max(prompt, generated))
        return Measured(peak / (inspected["bytes"] + kept), f"{1e-6 * peak:.1f} MB", f"{1e-6 * inspected['bytes']:.1f} + {1e-6 * kept:.1f} MB")

    return measure


def lookup_prompts():
    texts = (ROOT / "recipes/text/held_out.txt").read_text(encoding="utf-8").split("<|endoftext|>")
    passages = [" ".join(texts[i].split()[:WORDS]) for i in PASSAGES]
    return [f"{task}\n\n{passage}" for passage in passages for task in TASKS]


def lookup_seconds(bench, model, prompt):
    """Behind the prompt (what its first token takes is taken off): with guesses, without, and how many tokens that are."""
    kinds = {"first": (1, []), "looked up": (ANSWER, ["--lookup", LOOKUP]), "plain": (ANSWER, [])}
    seconds, texts = {kind: [] for kind in kinds}, set()
    for _ in range(bench.runs):
        for kind, (count, words) in kinds.items():
            said = bench.own.generate(model, prompt, count, "--system", SYSTEM, "--temperature", 0, *words)
            seconds[kind].append(said["seconds"])
            if kind != "first":
                texts.add(tuple(said["tokens"]))
    if len(texts) > 1:
        raise RuntimeError(f"with --lookup another text follows {prompt[:60]!r}")
    median = {kind: statistics.median(values) for kind, values in seconds.items()}
    return median["looked up"] - median["first"], median["plain"] - median["first"], len(texts.pop()) - 1


def lookup(bench):
    """All texts together."""
    model = bench.models.original("smollm2")
    looked, plain, tokens = (sum(values) for values in zip(*(lookup_seconds(bench, model, prompt) for prompt in lookup_prompts()), strict=True))
    return Measured(plain / looked, f"{tokens / looked:.0f} t/s", f"{tokens / plain:.0f} t/s without")


@contextlib.contextmanager
def busy(processor):
    """Another process keeps a processor busy meanwhile."""
    with subprocess.Popen(["taskset", "-c", str(processor), "sh", "-c", "while :; do :; done"]) as loop:
        try:
            yield
        finally:
            loop.kill()


def busy_core(origin, to):
    """Two processors, of which one is taken by another process: two threads beside one."""

    def measure(bench):
        processors = sorted(os.sched_getaffinity(0))[:2]
        if len(processors) < 2 or not shutil.which("taskset"):
            raise NotMeasured("needs two processors, and taskset")
        model = bench.models.quantized(origin, to)
        pinned = AttarRuns(bench.own.program, bench.threads, ["taskset", "-c", ",".join(map(str, processors))])
        with busy(processors[1]):
            runs = [pinned.bench(model, "-p", 0, "-n", BUSY_GENERATED, threads=[1, 2])["rows"] for _ in range(bench.runs)]
        one, two = (statistics.median(row["median_ts"] for run in runs for row in run if row["n_threads"] == n) for n in (1, 2))
        return Measured(two / one, f"{two:.0f} t/s", f"{one:.0f} t/s of 1 thread")

    return measure


def program_size(bench):
    with tempfile.TemporaryDirectory() as folder:
        stripped = pathlib.Path(folder) / "attar-run"
        subprocess.run(["strip", "-o", str(stripped), bench.own.program], check=True, capture_output=True)
        size = 1e-6 * stripped.stat().st_size
    return Measured(size, f"{size:.2f} MB")
