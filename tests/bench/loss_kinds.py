"""Loss kinds at equal tokens: one student, trained once by each kind and seed, judged on a text that nobody learned from.

    loss_kinds.py TEACHER STUDENT --train TEXT ... --held-out TEXT [--tokens N] [--seeds N] [--rate R] [--arms NAME ...] [--jobs N] [--threads N]

Prints, for each kind, the mean over the seeds and their standard deviation: KL(teacher || student), how much of it more than by forward_kl with the same
seed, the share of tokens where both find the same one likeliest, and the student's perplexity. All kinds learn at the same rate, by AdamW, whose steps
do not depend on how large a loss is. --jobs trainings run at once, each in a process of its own with --threads.
"""

import argparse
import concurrent.futures
import multiprocessing
import pathlib
import statistics
import sys
import tempfile

import attar

PAIRED = "forward_kl"
KINDS = ["cross_entropy", PAIRED, "reverse_kl", "symmetric_kl", "jsd", "skew_forward_kl", "skew_reverse_kl", "total_variation", "adaptive_kl", "taid"]
ARMS = {
    **{kind: {"losses": {kind: 1.0}} for kind in KINDS},
    "forward_kl, of the top 64 and the rest": {"losses": {PAIRED: 1.0}, "signal": "cached", "signal_top_k": 64},
    "half forward_kl, half cross_entropy": {"losses": {PAIRED: 0.5, "cross_entropy": 0.5}},
}
JUDGED = ["KL", "more than forward_kl", "top-1", "perplexity"]


def trained(arm, seed, options):
    """In a process of its own. -> KL, top-1 agreement, perplexity"""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/student.gguf"
        attar.distill(
            options.teacher,
            options.student,
            out,
            data=options.train,
            tokens=options.tokens,
            learning_rate=options.rate,
            batch_tokens=options.batch_tokens,
            sequence_tokens=options.sequence_tokens,
            precision=options.precision,
            checkpoint_every_steps=0,
            seed=seed,
            threads=options.threads,
            to="F32",
            **ARMS[arm],
        )
        found = attar.verify(
            options.teacher, out, data=options.held_out, numerics="fp32", context=options.sequence_tokens, max_tokens=options.held_out_tokens, threads=options.threads
        )
    return found.kl, found.top1, found.judged.perplexity.student


def spread(values, digits, sign=""):
    mean = f"{statistics.fmean(values):{sign}.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def row(arm, found, paired):
    """`found`, `paired`: of each seed what `trained` gives."""
    kl, top1, perplexity = zip(*found, strict=True)
    more = [own - other for own, (other, *_) in zip(kl, paired, strict=True)]
    return f"| {arm} | {spread(kl, 4)} | {spread(more, 4, '+')} | {spread(top1, 4)} | {spread(perplexity, 3)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("teacher", "student"):
        parser.add_argument(name)
    for name in ("--train", "--held-out"):
        parser.add_argument(name, nargs="+", required=True)
    parser.add_argument("--tokens", type=int, default=60000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--batch-tokens", type=int, default=512)
    parser.add_argument("--sequence-tokens", type=int, default=256)
    parser.add_argument("--held-out-tokens", type=int, default=0, help="of the held-out text to judge on; 0 for all")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    arms, seeds = list(dict.fromkeys([PAIRED, *options.arms])), range(1, options.seeds + 1)
    print(f"{pathlib.Path(options.teacher).name} -> {pathlib.Path(options.student).name}, {options.tokens} tokens, rate {options.rate:g}, {options.seeds} seeds\n")
    print("| | " + " | ".join(JUDGED) + " |\n| --- |" + " --- |" * len(JUDGED), flush=True)
    with concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {(arm, seed): pool.submit(trained, arm, seed, options) for arm in arms for seed in seeds}
        try:
            for arm in arms:
                found = [running[arm, seed].result() for seed in seeds]
                paired = [running[PAIRED, seed].result() for seed in seeds]  # trained first
                print(row(arm, found, paired), flush=True)
        except attar.Error as error:
            pool.shutdown(cancel_futures=True)
            sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
