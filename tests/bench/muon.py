"""How many tokens Muon needs to the held-out loss that AdamW ends with: one small model from random weights, trained on a text by cross-entropy.

    muon.py TEXT [--batch-tokens N] [--tokens N] [--shares S ...] [--adamw-rates R ...] [--muon-rates R ...] [--adamw-options JSON]
        [--muon-options JSON] [--seeds N] [--threads N] [--config JSON]

AdamW learns from --tokens at each of its rates, Muon from each of --shares of them at each of its own; cosine, no weight decay. A seed has its own random
weights, order of the text and tokens that are held out, the same for every arm. Prints the mean loss on those after the last step, and the smallest share at
which Muon's mean over the seeds is no higher than AdamW's best. The model is the teacher of recipes/tiny.yaml unless --config changes it.
"""

import argparse
import json
import pathlib
import statistics
import tempfile

import attar

TINY = {"family": "llama", "layers": 4, "width": 128, "heads": 4, "kv_heads": 2, "head_dim": 32, "ffn": 384, "context": 512}  # as in recipes/tiny.yaml
TOKENIZER = pathlib.Path(__file__).resolve().parents[2] / "recipes/text/tiny_tokenizer"


def random_model(config, tokenizer, seed, folder):
    """-> its file"""
    recipe = {"name": "random", "seed": seed, "teacher": {"config": config, "tokenizer": tokenizer}, "stages": [{"export": {"formats": ["gguf"]}}]}
    return attar.run(recipe, out=f"{folder}/random-{seed}").gguf


def held_out_loss(model, options, optimizer, rate, tokens, seed, folder):
    """After the last step."""
    looks = []

    def listen(event):
        if "held_out" in event["metrics"]:
            looks.append(event["metrics"]["held_out"])

    attar.distill(
        model,
        model,
        f"{folder}/trained.gguf",
        data=options.text,
        losses={"cross_entropy": 1.0},
        optimizer=optimizer,
        learning_rate=rate,
        tokens=tokens,
        batch_tokens=options.batch_tokens,
        sequence_tokens=options.sequence_tokens,
        held_out_tokens=options.held_out_tokens,
        held_out_every_steps=tokens,  # after the last step alone
        checkpoint_every_steps=0,
        seed=seed,
        threads=options.threads,
        force=True,
        progress=listen,
        **{"adamw": options.adamw_options, "muon": options.muon_options}[optimizer],
    )
    return looks[-1]


def arms(options):
    """-> (optimizer, rate, share of the tokens)"""
    yield from (("adamw", rate, 1.0) for rate in options.adamw_rates)
    yield from (("muon", rate, share) for share in options.shares for rate in options.muon_rates)


def verdict(means):
    """`means`: over the seeds, of each arm."""
    best = min((loss, arm) for arm, loss in means.items() if arm[0] == "adamw")
    print(f"\nAdamW at its best: {best[0]:.4f} at {best[1][1]:g}")
    enough = [(share, loss, rate) for (optimizer, rate, share), loss in means.items() if optimizer == "muon" and loss <= best[0]]
    if enough:
        share, loss, rate = min(enough)
        print(f"Muon is no higher with {share:g} of the tokens: {loss:.4f} at {rate:g}")
    else:
        print("Muon stays above it with each of these shares and rates")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="+")
    parser.add_argument("--batch-tokens", type=int, default=512)
    parser.add_argument("--sequence-tokens", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=100000)
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.85, 0.75, 0.6])
    parser.add_argument("--adamw-rates", type=float, nargs="*", default=[4e-3])
    parser.add_argument("--muon-rates", type=float, nargs="+", default=[8e-3, 1.1e-2])
    parser.add_argument("--adamw-options", type=json.loads, default={}, help='more of the trainings with AdamW, such as {"beta1": 0.8}')
    parser.add_argument("--muon-options", type=json.loads, default={}, help='of those with Muon, such as {"muon_momentum": 0.95}')
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--held-out-tokens", type=int, default=4000)
    parser.add_argument("--config", type=json.loads, default={}, help="keys of teacher.config in place of the tiny model's")
    parser.add_argument("--tokenizer", default=str(TOKENIZER))
    options = parser.parse_args()
    seeds, means = range(1, options.seeds + 1), {}
    print("| | tokens | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean |\n| --- | ---: |" + " ---: |" * (options.seeds + 1), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        models = {seed: random_model(TINY | options.config, options.tokenizer, seed, folder) for seed in seeds}
        for optimizer, rate, share in arms(options):
            tokens = round(share * options.tokens)
            losses = [held_out_loss(models[seed], options, optimizer, rate, tokens, seed, folder) for seed in seeds]
            mean = means[optimizer, rate, share] = statistics.fmean(losses)
            print(f"| {optimizer}, {rate:g} | {tokens} | " + " | ".join(f"{loss:.4f}" for loss in (*losses, mean)) + " |", flush=True)
    if options.adamw_rates:
        verdict(means)


if __name__ == "__main__":
    main()
