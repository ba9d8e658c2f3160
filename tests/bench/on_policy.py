"""What learning from its own text gives a student, beside learning from others' at the same number of tokens.

    on_policy.py build/bin/attar TEACHER STUDENT --train TEXT --held-out TEXT [--tokens N] [--seeds N] [--rate R] [--own-texts N]

Prints, for each arm and seed, the divergence from the teacher on the held-out text (KL(teacher || student), verify's) and on texts that the
student itself writes behind the held-out text's openings: the mean of log q(student) - log p(teacher) over what it wrote, which is
KL(student || teacher) where the student goes. Lower is better in both.
"""

import argparse
import itertools
import json
import pathlib
import statistics
import subprocess
import tempfile

import attar

ARMS = {
    "forward KL": {"losses": {"forward_kl": 1.0}},
    "reverse KL": {"losses": {"reverse_kl": 1.0}},
    "forward KL, on-policy 0.5": {"losses": {"forward_kl": 1.0}, "on_policy": 0.5},
    "reverse KL, on-policy 0.5": {"losses": {"reverse_kl": 1.0}, "on_policy": 0.5},
    "reverse KL, on-policy 0.5, replay 0.5": {"losses": {"reverse_kl": 1.0}, "on_policy": 0.5, "replay": 0.5},
    "reverse KL, on-policy 1": {"losses": {"reverse_kl": 1.0}, "on_policy": 1.0},
}
WORDS = 8  # of an opening
OPENING, WRITTEN = 12, 96  # tokens


def held_out_kl(program, teacher, student, text):
    out = subprocess.run([program, "verify", teacher, student, "--data", text, "--numerics", "fp32", "--context", "256", "--json", "--quiet"], check=True, capture_output=True)
    return json.loads(out.stdout)["results"]["fp32"]["kl"]["mean"]


def own_kl(teacher, path, openings):
    student = attar.Model(path, numerics="fp32")
    excess = []
    for seed, opening in enumerate(openings):
        written = list(student.generate(opening, max_tokens=WRITTEN, temperature=1.0, top_k=0, top_p=1.0, seed=seed).tokens)
        if not written:
            continue
        text = student.tokenize(opening) + written
        own, other = (model.score(text)[-len(written) :] for model in (student, teacher))
        excess += list(own - other)
    return statistics.fmean(excess)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("program", "teacher", "student"):
        parser.add_argument(name)
    for name in ("--train", "--held-out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--tokens", type=int, default=60000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--own-texts", type=int, default=200)
    given = parser.parse_args()
    teacher = attar.Model(given.teacher, numerics="fp32")
    lines = [line for line in pathlib.Path(given.held_out).read_text(encoding="utf-8").splitlines() if len(line) > 60]
    openings = [" ".join(line.split()[:WORDS]) for line in itertools.islice(itertools.cycle(lines), given.own_texts)]
    print("| | held-out text: KL(teacher, student) | own text: KL(student, teacher) |\n| --- | --- | --- |")
    for arm, options in ARMS.items():
        found = []
        for seed in range(1, given.seeds + 1):
            with tempfile.TemporaryDirectory() as folder:
                out = f"{folder}/student.gguf"
                attar.distill(
                    given.teacher,
                    given.student,
                    out,
                    data=given.train,
                    tokens=given.tokens,
                    learning_rate=given.rate,
                    batch_tokens=512,
                    sequence_tokens=256,
                    rollout_prompt_tokens=OPENING,
                    rollout_tokens=WRITTEN,
                    seed=seed,
                    to="F32",
                    **options,
                )
                found.append((held_out_kl(given.program, given.teacher, out, given.held_out), own_kl(teacher, out, openings)))
        print(f"| {arm} | " + " | ".join(" ".join(f"{value:.4f}" for value in column) for column in zip(*found, strict=True)) + " |", flush=True)


if __name__ == "__main__":
    main()
