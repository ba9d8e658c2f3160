"""Speed of a training step beside PyTorch's: Attar's train_step and the same step in eager PyTorch with Hugging Face's model, in turn.

    train_step.py build/bin/train_step [--shapes 10m 30m smollm2] [--losses ce kl] [--precisions fp32 bf16] [--tokens N] [--rounds N]

Documents of 256 random tokens in one batch, AdamW, gradients clipped to norm 1; with kl a teacher of the same shape beside the student, and the loss over all logits
at once. bf16 is autocast there. Prints medians of tokens a second and their ratio.
"""

import argparse
import os
import re
import statistics
import subprocess
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


def attar(program, shape, loss, precision, tokens, threads):
    command = [program, "--shape", shape, "--loss", loss, "--precision", precision, "--tokens", str(tokens), "--threads", str(threads), "--steps", str(STEPS)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"([\d.]+) s a step", said)[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES))
    parser.add_argument("--losses", nargs="+", default=["ce", "kl"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    threads = os.cpu_count()
    torch.set_num_threads(threads)
    print(f"| shape | loss | precision | Attar tokens/s | PyTorch {torch.__version__} | ratio |\n| --- | --- | --- | --- | --- | --- |")
    for shape in options.shapes:
        for loss in options.losses:
            for precision in options.precisions:
                ours, theirs = [], []
                for _ in range(options.rounds):
                    ours.append(attar(options.program, shape, loss, precision, options.tokens, threads))
                    theirs += pytorch(shape, loss, precision, options.tokens)
                fast, slow = options.tokens / statistics.median(ours), options.tokens / statistics.median(theirs)
                print(f"| {shape} | {loss} | {precision} | {fast:.0f} | {slow:.0f} | {fast / slow:.2f} |", flush=True)


if __name__ == "__main__":
    main()
