"""Speed at which a student writes the texts that it learns from: 512 of them by the native runtime in one process, and by transformers' generate().

    rollouts.py build/bin/attar [--model MODEL.gguf] [--sequences N] [--prompt-tokens N] [--tokens N] [--batches N ...] [--dtypes float32 bfloat16]
        [--rounds N] [--threads N]

As the trainer's rollouts are written: matrices rounded to Q8_0, int8 kernels, 32 texts at once, from the whole distribution at temperature 1. Every text
behind prompts of equal length is written to the same length, no token may end it. `attar-run generate` is timed as a whole process with its loading, a
batch of transformers' without. Both in turn, medians of --rounds; transformers' rate is that of the best of its batch sizes. Default: the packaged SmolLM2.
"""

import argparse
import itertools
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import attar
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import ROOT, smollm2
from gguf_oracle import transformers_model_from_gguf

TEXT = ROOT / "recipes/text/tiny_train.txt"
AT_ONCE = 32  # as recipes/data/student_writes.cpp
ENDS = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "</s>"]


def prompts_of(tokenizer, length, count):
    """Windows of a text, `length` tokens each as they are read. -> (text, ids), repeated where the text has fewer"""
    ids = tokenizer.encode(TEXT.read_text(encoding="utf-8").replace("<|endoftext|>\n", ""), start=False)
    own = length - len(tokenizer.encode("", start=True))  # behind BOS, where the tokenizer adds it
    texts = [tokenizer.decode(ids[begin : begin + own]) for begin in range(0, len(ids) - own, own)]
    read = [(text, tokenizer.encode(text)) for text in texts]
    whole = [(text, tokens) for text, tokens in read if len(tokens) == length and text == text.strip("\n")]
    return list(itertools.islice(itertools.cycle(whole), count))


def end_tokens(tokenizer):
    named = [tokenizer.encode(name, special=True, start=False) for name in ENDS]
    return sorted({tokenizer.eos, *(ids[0] for ids in named if len(ids) == 1)} - {None})


def by_attar(program, model, prompts, ends, options):
    """Tokens per second."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text, _ in prompts)
        file.flush()
        command = [program, "generate", model, "--prompts", file.name, "--batch", AT_ONCE, "-n", options.tokens, "--temperature", 1, "--top-k", 0, "--top-p", 1]
        command += ["--logit-bias", *(f"{token}=-1000" for token in ends), "--threads", options.threads, "--seed", 1, "--json", "--quiet"]
        begin = time.perf_counter()
        said = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
        seconds = time.perf_counter() - begin
    written = [json.loads(line) for line in said.splitlines()]
    assert all(one["prompt_tokens"] == options.prompt_tokens and len(one["tokens"]) == options.tokens for one in written), "texts are not as long as asked for"
    return len(written) * options.tokens / seconds


def by_transformers(model, prompts, ends, options):
    """Tokens per second, of one batch."""
    ids = torch.tensor([tokens for _, tokens in prompts])
    begin = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            min_new_tokens=options.tokens,
            max_new_tokens=options.tokens,
            eos_token_id=ends,
            pad_token_id=ends[0],
        )
    seconds = time.perf_counter() - begin
    assert out.shape == (len(prompts), options.prompt_tokens + options.tokens)
    return len(prompts) * options.tokens / seconds


def table(ours, theirs, options):
    attar_speed = statistics.median(ours)
    print(f"\nmedians of {options.rounds}, {options.threads} threads, {options.tokens} tokens behind {options.prompt_tokens} each\n")
    print("| | tokens/s | Attar over it |\n| --- | ---: | ---: |")
    print(f"| Attar, {options.sequences} texts, {AT_ONCE} at once | {attar_speed:.0f} | |")
    for dtype in options.dtypes:
        speed, batch = max((statistics.median(theirs[dtype, batch]), batch) for batch in options.batches)
        print(f"| transformers, {dtype}, {batch} at once | {speed:.0f} | {attar_speed / speed:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path, help="attar; attar-run lies beside it")
    parser.add_argument("--model")
    parser.add_argument("--sequences", type=int, default=512)
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    original = options.model or smollm2()
    tokenizer = attar.Tokenizer(original)
    prompts, ends = prompts_of(tokenizer, options.prompt_tokens, options.sequences), end_tokens(tokenizer)
    models = {dtype: transformers_model_from_gguf(original).to(getattr(torch, dtype)) for dtype in options.dtypes}
    ours, theirs = [], {}
    with tempfile.TemporaryDirectory() as folder:
        student = f"{folder}/student.gguf"
        subprocess.run([options.program, "quantize", original, "-o", student, "--to", "Q8_0", "--preset", "fast", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        for _ in range(options.rounds):
            ours.append(by_attar(options.program.with_name("attar-run"), student, prompts, ends, options))
            print(f"Attar: {ours[-1]:.1f} tokens/s", flush=True)
            for dtype, batch in itertools.product(options.dtypes, options.batches):
                theirs.setdefault((dtype, batch), []).append(by_transformers(models[dtype], prompts[:batch], ends, options))
                print(f"transformers, {dtype}, {batch} at once: {theirs[dtype, batch][-1]:.1f} tokens/s", flush=True)
    table(ours, theirs, options)


if __name__ == "__main__":
    main()
