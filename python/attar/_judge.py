"""Judging models: evaluate, verify, inspect, bench."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

from . import _runtime
from ._call import Path, Paths, Progress, call, checked, local
from ._error import error, usage
from ._result import Result, Verification


@checked
def evaluate(
    model: Path,
    *,
    data: Paths = (),
    # fields of evaluate
    tasks: Paths = (),
    numerics: str = "deployed",
    kv: str = "",
    context: int = 512,
    chat_template: Path = "",
    limit: int = 0,
    per_item: bool = False,
    # end of fields
    threads: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Perplexity and bits per byte of a text, accuracy on task files. -> `text` and `tasks`; without torch

    model: a GGUF file, a Hugging Face directory, "pip:PACKAGE" or "hf:ORG/NAME".
    data: text for perplexity and bits per byte: .txt or .jsonl, also .gz.
    threads, progress: as everywhere (help(attar)).

    Options:
    tasks: multiple-choice or cloze items (.jsonl, also .gz), scored as lm-evaluation-harness does
    numerics: deployed: int8 activations, as users run it; or fp32, the reference
    kv: keys and values of a deployed model: f16, or int8 (half the memory); without it what the file plans, else f16
    context: window length in tokens for data
    chat_template: chat template of chats, of which what the assistant says is scored: a file, or chatml, llama3, gemma, phi3 or zephyr;
        without it the model's own
    limit: items of each task; 0 for all
    per_item: list each item's log-probabilities and choice too
    """
    return Result(call(_runtime.evaluate, {**locals(), "file": local(model)}))


@checked
def verify(
    teacher: Path,
    student: Path,
    *,
    data: Paths,
    gates: Mapping[str, float] | None = None,
    bench: bool = False,
    # fields of verify
    context: int = 512,
    max_tokens: int = 0,
    numerics: str = "both",
    kv: str | None = None,
    chat_template: Path = "",
    tasks: Paths = (),
    task_items: int = 0,
    # end of fields
    threads: int = 0,
    progress: Progress | None = None,
) -> Verification:
    """Fidelity and efficiency of `student` against `teacher`. -> kl, top1, ppl_ratio, passed, and the numbers behind them; without torch

    teacher, student: GGUF files, Hugging Face directories, "pip:PACKAGE" or "hf:ORG/NAME".
    data: text to judge on: .txt or .jsonl, also .gz.
    gates: limits: kl, ppl_ratio, bytes, bits_per_byte_ratio at most; top1, decode_ratio at least. A missed one is no exception: `passed` says it.
    bench: measure speed and memory of both models too, each in a process of its own.
    threads, progress: as everywhere (help(attar)).

    Options:
    context: window length in tokens; windows do not overlap, every position but the first is scored
    max_tokens: score at most this many tokens of the text; 0 for all
    numerics: fp32, deployed or both; gates judge deployed
    kv: the student's keys and values in deployed numbers: f16 or int8; without it as its file plans
    chat_template: chat template of chats, of which what the assistant says is scored: a file, or chatml, llama3, gemma, phi3 or zephyr;
        without it the teacher's own
    tasks: files of multiple-choice or cloze items (.jsonl, also .gz) that both models answer: accuracy of each, how often they agree
    task_items: items of each task; 0 for all
    """
    return Verification(call(_runtime.verify, {**locals(), "teacher": local(teacher), "student": local(student), "gates": gates or {}}))


@checked
def inspect(model: Path) -> Result:
    """What a model's files hold: family, parameters, bytes, layers, tensor types, licence, tokenizer. Nothing is loaded; without torch."""
    return Result(call(_runtime.inspect, {"model": local(model)}))


@checked
def bench(
    model: Path,
    *,
    n_prompt: int | Iterable[int] = 512,
    n_gen: int | Iterable[int] = 128,
    n_depth: int | Iterable[int] = 0,
    threads: int | Iterable[int] = 0,
    repetitions: int = 5,
    numerics: str = "deployed",
) -> Result:
    """Speed and peak memory of `model` as llama-bench measures them, by attar-run in a process of its own. -> `rows`, a measurement each

    model: a GGUF file, a Hugging Face directory, "pip:PACKAGE" or "hf:ORG/NAME".
    n_prompt, n_gen: prompt and generation lengths to measure, one or several; 0 for none.
    n_depth: tokens of context before each measurement.
    threads: thread counts to measure; 0 for one a core, within the processor quota.
    repetitions: runs of each measurement.
    numerics: "deployed" (int8 activations, as attar-run does) or "fp32" (the reference).
    """
    import _attar_programs

    if numerics not in ("deployed", "fp32"):
        raise usage("numerics", "is unknown", "fp32 or deployed", repr(numerics))
    program = _attar_programs.runtime_program()
    command = [program, "bench", "--json", "--quiet", *(["--numerics", "fp32"] if numerics == "fp32" else [])]
    for (flag, name), value in zip(_BENCH_FLAGS.items(), (n_prompt, n_gen, n_depth, threads, repetitions), strict=True):
        command += [flag, _counts(name, value)]
    try:
        done = subprocess.run([*command, "--", str(local(model))], capture_output=True, text=True)
    except FileNotFoundError:
        raise error(1, program, "is missing", hint="build it, or install the package again") from None
    if done.returncode != 0:
        said = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
        words = re.sub(r"(?<![\w-])(-[pndtr])(,--[\w-]+)?(?![\w-])", lambda found: _BENCH_FLAGS[found[1]], "".join(said[:1]))
        raise error(done.returncode, "attar.bench", words or f"attar-run ended with code {done.returncode}")
    return Result(json.loads(done.stdout))


_BENCH_FLAGS = {"-p": "n_prompt", "-n": "n_gen", "-d": "n_depth", "-t": "threads", "-r": "repetitions"}


def _counts(name: str, value: Any) -> str:
    """One or several counts as the program takes them."""
    try:
        counts = [index(count) for count in (value if isinstance(value, Iterable) else [value])]  # NumPy's numbers too
    except TypeError:
        counts = []
    if not counts or min(counts) < 0:
        raise usage(name, "is no count", "a whole number of at least 0, or several", repr(value))
    return ",".join(map(str, counts))
