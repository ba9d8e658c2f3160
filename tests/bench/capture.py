"""What keeping a teacher's signal costs beside the runtime's bare reading of the same text: wall clock and processor time.

    capture.py [--model MODEL.gguf] [--text TEXT] [--tokens N] [--sequence-tokens N] [--signals cached sampled hidden] [--numerics deployed] [--rounds N]
        [--threads N] [--device cpu]

`prefill` reads each sequence and predicts the one token behind it, `score` gives the text's own token a probability at every position, as any signal but
`hidden` must make all logits too; both by attar.Model. A signal is what `attar distill --signal` makes before its training, which is stopped there; its first
sequence and the loading are not counted. With --numerics training signals are made by the passes of a training, on --device; the bare readings are the
runtime's in fp32 then, and the first 2,048 tokens are not counted, which are read at once. In one process, in turn, medians of --rounds. Default: the packaged
SmolLM2 on the text of recipes/text.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile
import time

import attar

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import ROOT, smollm2


def now():
    """Seconds of the wall clock, and of all processors."""
    return time.perf_counter(), time.process_time()


def a_token(begin, end, tokens):
    """Seconds a token, of the wall clock and of all processors."""
    return tuple((last - first) / tokens for first, last in zip(begin, end, strict=True))


def bare(options, sequences, read):
    """`read`: of a model and the token ids of a sequence."""
    model = attar.Model(options.model, numerics="fp32" if options.numerics == "training" else options.numerics, threads=options.threads)
    read(model, sequences[0])
    begin = now()
    for ids in sequences[1:]:
        read(model, ids)
    return a_token(begin, now(), sum(len(ids) for ids in sequences[1:]))


def prefill(model, ids):
    model.generate(model.tokenizer.decode(ids), max_tokens=1, temperature=0)


def captured(options, text, signal):
    """Of all sequences but the first, or but those that are read together with it."""
    read = []  # (tokens, when) behind each sequence

    def listen(event):
        if event["stage"] != "teacher signal" or event["done"] == 0:
            return True
        if not read or event["done"] > read[-1][0]:
            read.append((event["done"], now()))
        return event["done"] < event["total"]

    with tempfile.TemporaryDirectory() as folder:
        try:
            attar.distill(
                options.model,
                options.model,
                f"{folder}/student.gguf",
                data=text,
                signal=signal,
                signal_numerics=options.numerics,
                device=options.device,
                sequence_tokens=options.sequence_tokens,
                threads=options.threads,
                progress=listen,
            )
        except attar.Error as error:
            if error.kind != "interrupted":
                raise
    at_once = 2048 if options.numerics == "training" else 0
    (first, begin), (last, end) = max([read[0], *(entry for entry in read if entry[0] <= at_once)]), read[-1]
    return a_token(begin, end, last - first)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--text", type=pathlib.Path, default=ROOT / "recipes/text/tiny_train.txt")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--sequence-tokens", type=int, default=256, help="below the model's context: the prefill writes a token too")
    parser.add_argument("--signals", nargs="+", default=["cached", "sampled", "hidden"])
    parser.add_argument("--numerics", default="deployed", choices=["deployed", "fp32", "training"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "auto"], help="of --numerics training")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.model = options.model or smollm2()
    tokenizer = attar.Tokenizer(options.model)
    ids = tokenizer.encode(options.text.read_text(encoding="utf-8").replace("<|endoftext|>\n", ""), start=False)[: options.tokens]
    sequences = [ids[begin : begin + options.sequence_tokens] for begin in range(0, len(ids), options.sequence_tokens)]
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder) / "text.txt"
        text.write_text(tokenizer.decode(ids), encoding="utf-8")
        ways = {
            "prefill": lambda: bare(options, sequences, prefill),
            "score": lambda: bare(options, sequences, lambda model, ids: model.score(ids)),
            **{signal: lambda signal=signal: captured(options, text, signal) for signal in options.signals},
        }
        runs = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, measure in ways.items():
                runs[way].append(measure())
    of = {way: [statistics.median(column) for column in zip(*all_runs, strict=True)] for way, all_runs in runs.items()}
    print(f"{pathlib.Path(options.model).name}, {options.numerics}, {len(ids)} tokens in {len(sequences)} sequences, {options.threads} threads\n")
    print("| | tokens/s | processor ms a token | wall clock over prefill's | processor time over prefill's |\n| --- | ---: | ---: | ---: | ---: |")
    for way, (wall, processor) in of.items():
        print(f"| {way} | {1 / wall:.0f} | {1e3 * processor:.3f} | {wall / of['prefill'][0]:.2f} | {processor / of['prefill'][1]:.2f} |")


if __name__ == "__main__":
    main()
