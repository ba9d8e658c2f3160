"""Speed and memory of a training step beside PyTorch's: Attar's train_step and the same step in eager PyTorch with Hugging Face's model, in turn.

    train_step.py build/bin/train_step [--tables step cache head memory] [--shapes 10m 30m smollm2] [--losses ce kl] [--precisions fp32 bf16]
        [--tokens N] [--rounds N]

Documents of 256 random tokens in one batch, AdamW, gradients clipped to norm 1; with kl a teacher of the same shape beside the student, and the loss over all logits
at once. bf16 is autocast there. Prints medians of tokens a second and their ratio; `cache`: a step that learns from a kept signal over one of plain cross-entropy;
`head`: both heads and their divergence alone, forward and backward; `memory`: by how much a process grows at most for a step of the 30M shape and its model.
"""

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES = {"smollm2": (30, 576, 9, 3, 1536, 49152), "30m": (8, 384, 6, 2, 1024, 49152), "10m": (6, 256, 4, 2, 704, 16384)}
LENGTH, STEPS = 256, 4


def model_of(shape):
    layers, width, heads, kv_heads, ffn, vocabulary = SHAPES[shape]
    return LlamaForCausalLM(
        LlamaConfig(
            num_hidden_layers=layers,
            hidden_size=width,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            intermediate_size=ffn,
            vocab_size=vocabulary,
            tie_word_embeddings=True,
            max_position_embeddings=2048,
        )
    )


def pytorch(shape, loss, precision, tokens):
    """Seconds of each step but the first."""
    student = model_of(shape)
    teacher = model_of(shape).eval() if loss == "kl" else None
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4)
    ids = torch.randint(student.config.vocab_size, (tokens // LENGTH, LENGTH))
    seconds = []
    for _ in range(STEPS + 1):
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = student(input_ids=ids).logits[:, :-1].float()
            if teacher is None:
                value = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
            else:
                with torch.no_grad():
                    target = torch.log_softmax(teacher(input_ids=ids).logits[:, :-1].float(), -1)
                value = torch.nn.functional.kl_div(torch.log_softmax(logits, -1), target, reduction="sum", log_target=True) / (ids.numel() - len(ids))
        value.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def pytorch_head(width, vocabulary, precision, tokens):
    """Seconds of each call but the first, of both heads and the divergence, forward and backward."""
    student, teacher = (torch.nn.Linear(width, vocabulary, bias=False) for _ in range(2))
    hidden, other = torch.randn(tokens, width, requires_grad=True), torch.randn(tokens, width)
    seconds = []
    for _ in range(STEPS + 1):
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            with torch.no_grad():
                target = torch.log_softmax(teacher(other).float(), -1)
            value = torch.nn.functional.kl_div(torch.log_softmax(student(hidden).float(), -1), target, reduction="sum", log_target=True) / tokens
        value.backward()
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def attar(program, shape, loss, precision, tokens, *more):
    """-> seconds a step, MB at most"""
    command = [program, "--shape", shape, "--loss", loss, "--precision", precision, "--tokens", tokens, "--threads", os.cpu_count(), "--steps", STEPS, *more]
    said = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout
    return float(re.search(r"([\d.]+) s a step", said)[1]), float(re.search(r"(\d+) MB", said)[1])


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def in_turn(rounds, *calls):
    """Medians of the seconds that each call gives, called in turn."""
    seconds = [[] for _ in calls]
    for _ in range(rounds):
        for of, call in zip(seconds, calls, strict=True):
            of += call()
    return [statistics.median(of) for of in seconds]


def step_table(options):
    print(f"| shape | loss | precision | Attar tokens/s | PyTorch {torch.__version__} | ratio |\n| --- | --- | --- | --- | --- | --- |")
    for shape in options.shapes:
        for loss in options.losses:
            for precision in options.precisions:
                case = (shape, loss, precision, options.tokens)
                ours, theirs = in_turn(options.rounds, lambda c=case: [attar(options.program, *c)[0]], lambda c=case: pytorch(*c))
                print(f"| {shape} | {loss} | {precision} | {options.tokens / ours:.0f} | {options.tokens / theirs:.0f} | {theirs / ours:.2f} |", flush=True)


def cache_table(options):
    print("\n| shape | precision | cross-entropy, s | from a kept signal, s | ratio |\n| --- | --- | --- | --- | --- |")
    for shape in options.shapes:
        for precision in options.precisions:
            calls = [lambda s=shape, loss=loss, p=precision: [attar(options.program, s, loss, p, options.tokens)[0]] for loss in ("ce", "cached")]
            plain, kept = in_turn(2 * options.rounds, *calls)
            print(f"| {shape} | {precision} | {plain:.3f} | {kept:.3f} | {kept / plain:.2f} |", flush=True)


def head_table(options):
    print("\n| V | C | precision | Attar, s | PyTorch, s | ratio |\n| --- | --- | --- | --- | --- | --- |")
    for vocabulary, width in ((16384, 384), (16384, 576), (49152, 384), (49152, 576)):
        for precision in options.precisions:
            more = ("--width", width, "--vocabulary", vocabulary)
            ours, theirs = in_turn(
                options.rounds,
                lambda m=more, p=precision: [attar(options.program, "30m", "head", p, options.tokens, *m)[0]],
                lambda w=width, v=vocabulary, p=precision: pytorch_head(w, v, p, options.tokens),
            )
            print(f"| {vocabulary} | {width} | {precision} | {ours:.3f} | {theirs:.3f} | {theirs / ours:.2f} |", flush=True)


def memory_table(options):
    print("\n| tokens | precision | Attar, MB | PyTorch, MB | share |\n| --- | --- | --- | --- | --- |")
    for tokens in (2048, 8192):
        for precision in options.precisions:
            ours = attar(options.program, "30m", "kl", precision, tokens)[1]
            command = [sys.executable, __file__, options.program, "--peak-of", precision, "--tokens", str(tokens)]
            theirs = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"| {tokens} | {precision} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} |", flush=True)


def main():
    tables = {"step": step_table, "cache": cache_table, "head": head_table, "memory": memory_table}
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--tables", nargs="+", default=list(tables), choices=list(tables))
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES))
    parser.add_argument("--losses", nargs="+", default=["ce", "kl"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)  # a step of PyTorch's in a process of its own
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count())
    if options.peak_of:
        before = peak_mb()
        pytorch("30m", "kl", options.peak_of, options.tokens)
        print(peak_mb() - before)
        return
    for table in options.tables:
        tables[table](options)


if __name__ == "__main__":
    main()
