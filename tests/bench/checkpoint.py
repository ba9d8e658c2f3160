"""What checkpoints cost a training: seconds a step without any, with one every 50 and every 10 steps, and with the best weights kept.

    checkpoint.py build/bin/attar [--models 30m smollm2] [--steps N] [--rounds N] [--batch-tokens N] [--losses cross_entropy] [--precision fp32]
        [--text TEXT] [--folder DIR] [--threads N]

A step lasts from one event of the training to the next, with all that it waits for in between; the first two are not counted. The median is a step beside
which nothing is written, the mean has what checkpoints cost: so the mean over the median of the same training, beside that of one without checkpoints, says it
also where the machine changes between the trainings. `keep: best` looks at what is held out every ten steps and writes where that became better; it stands
beside the looks alone. The cases come in turn, --rounds times, each of --steps steps. 30m: SmolLM2 cut to 30.7 million parameters, made in DIR.
Checkpoints lie in DIR too: of SmolLM2 three at once of 1.6 GB.
"""

import argparse
import itertools
import pathlib
import statistics
import tempfile
import time

import attar
from bench_models import TEXT, BenchModels
from conftest import ROOT

MODELS = {"30m": "nano", "smollm2": "smollm2"}  # as BenchModels calls them
LOOKS = {"held_out_tokens": 1000, "held_out_every_steps": 10}
CASES = {  # -> options, and the case that it stands beside
    "none": ({"checkpoint_every_steps": 0}, "none"),
    "every 50 steps": ({"checkpoint_every_steps": 50}, "none"),
    "every 10 steps": ({"checkpoint_every_steps": 10}, "none"),
    "none, looks": ({"checkpoint_every_steps": 0, **LOOKS}, "none, looks"),
    "none, keep: best": ({"checkpoint_every_steps": 0, "keep": "best", **LOOKS}, "none, looks"),
    "every 10 steps, keep: best": ({"checkpoint_every_steps": 10, "keep": "best", **LOOKS}, "none, looks"),
}
WARM_UP = 2  # steps


def trained(model, options, case, folder):
    """-> seconds of each step, losses on what was held out"""
    moments, looks = [], []

    def listen(event):
        if "gradient_norm" not in event["metrics"]:
            return  # no step
        moments.append(time.perf_counter())
        if "held_out" in event["metrics"]:
            looks.append(event["metrics"]["held_out"])

    attar.distill(
        model,
        model,
        folder / "trained.gguf",
        data=options.text,
        losses={loss: 1.0 for loss in options.losses},
        tokens=options.steps * options.batch_tokens,
        batch_tokens=options.batch_tokens,
        sequence_tokens=256,
        precision=options.precision,
        threads=options.threads,
        force=True,
        progress=listen,
        **CASES[case][0],
    )
    return [after - before for before, after in itertools.pairwise(moments)][WARM_UP:], looks


def improved(looks):
    """How many were lower than all before them."""
    return sum(look < min(looks[:place], default=float("inf")) for place, look in enumerate(looks))


def table(name, seconds, looks):
    """`seconds`: of all steps of each case."""
    columns = ["steps", "median, s", "mean, s", "slowest, s", "mean over median", "median, ratio", "mean, ratio"]
    print(f"\n{name}\n\n| checkpoints | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for case, (_, beside) in CASES.items():
        median, mean = statistics.median(seconds[case]), statistics.fmean(seconds[case])
        ratios = median / statistics.median(seconds[beside]), mean / statistics.fmean(seconds[beside])
        shown = "| | |" if case == beside else "| " + " | ".join(f"{ratio:.3f}" for ratio in ratios) + " |"
        print(f"| {case} | {len(seconds[case])} | {median:.3f} | {mean:.3f} | {max(seconds[case]):.3f} | {mean / median:.3f} {shown}")
    for case, each in looks.items():
        if each:
            print(f"{case}: {improved(each)} of {len(each)} looks became better")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--steps", type=int, default=103)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--losses", nargs="+", default=["cross_entropy"], help="with forward_kl the model is its own teacher")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "auto"])
    parser.add_argument("--text", type=pathlib.Path, default=TEXT)
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build/bench")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    files = BenchModels(options.program, options.folder, {})
    for name in options.models:
        model = files.original(MODELS[name])
        seconds, looks = {case: [] for case in CASES}, {}
        for _ in range(options.rounds):
            for case in CASES:
                with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                    steps, looks[case] = trained(model, options, case, pathlib.Path(folder))
                seconds[case] += steps
        table(name, seconds, looks)


if __name__ == "__main__":
    main()
