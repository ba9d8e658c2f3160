"""A student that learns from inside its teacher: by verb, recipe and Python, across widths, killed and resumed, and what is refused."""

import json
import signal
import subprocess
import sys

import pytest
from on_policy_test import BIN, TEXT, attar, digest, flags, home

pytestmark = pytest.mark.recipe

__all__ = ["home"]
TRAINING = {"tokens": 1500, "batch_tokens": 128, "sequence_tokens": 64, "checkpoint_every_steps": 3}
INSIDE = ["--features", "hidden_mse=1", "--features", "hidden_cosine=0.5", "--features", "attention_relation=1"]


def command(home, out, *more):
    return ["distill", home / "teacher", "--student", home / "student", "-o", out, "--data", TEXT / "tiny_train.txt", *flags(TRAINING), *more, "--json"]


def test_the_verb_learns_them_and_threads_change_no_byte(home, tmp_path):
    one, two = (attar(*command(home, tmp_path / f"{threads}.gguf", *INSIDE, "--threads", threads)) for threads in (1, 2))
    assert one.returncode == two.returncode == 0, one.stderr + two.stderr
    assert digest(tmp_path / "1.gguf") == digest(tmp_path / "2.gguf")
    assert attar(*command(home, tmp_path / "without.gguf")).returncode == 0
    assert digest(tmp_path / "without.gguf") != digest(tmp_path / "1.gguf")
    pair = attar(*command(home, tmp_path / "pair.gguf", *INSIDE, "--feature-layers", "1:0"))
    assert pair.returncode == 0 and digest(tmp_path / "pair.gguf") != digest(tmp_path / "1.gguf")


RECIPE = f"""teacher: {{teacher}}
seed: 5
student: {{{{config: {{{{family: llama, layers: 3, width: 48, heads: 2, kv_heads: 1, head_dim: 16, ffn: 96, context: 128}}}}}}}}
data: {{{{train: [{TEXT / "tiny_train.txt"}], evaluation: [{TEXT / "tiny_held_out.txt"}]}}}}
stages:
  - distill: {{{{tokens: 1500, batch_tokens: 128, sequence_tokens: 64, checkpoint_every_steps: 2, features: {{{{hidden_mse: 1, attention_relation: 1}}}}{{more}}}}}}
  - export
"""


def recipe(home, folder, more=""):
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(teacher=home / "teacher", more=more))
    return path


def test_a_narrower_student_is_killed_and_resumed(home, tmp_path):
    """Its projections lie in the checkpoints, and nowhere in what is exported."""
    path = recipe(home, tmp_path)
    whole = attar("run", path, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    steps = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1]["loss"] == pytest.approx(sum(steps[-1][part] for part in ("forward_kl", "hidden_mse", "attention_relation")))
    assert steps[-1]["hidden_mse"] < steps[0]["hidden_mse"]
    child = subprocess.Popen([str(BIN / "attar"), "run", str(path), "--out", str(tmp_path / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None and not list((tmp_path / "killed").glob("checkpoints/*distill/step-[0-9]*")):
        pass
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it was done before it could be killed"
    assert attar("run", "--resume", tmp_path / "killed").returncode == 0
    exported = [tmp_path / run / "export" / "model.gguf" for run in ("whole", "killed")]
    assert digest(exported[0]) == digest(exported[1])
    shown = attar("inspect", exported[0], "--json")
    assert shown.returncode == 0 and "feature" not in shown.stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--feature-layers", "9:0"], "the student has no such layer"),
        (["--feature-layers", "0:9"], "the teacher has no such layer"),
        (["--feature-layers", "0:0", "--feature-layers", "0:1"], "twice"),
        (["--feature-layers", "0-0"], "STUDENT:TEACHER, such as 3:7"),
        (["--signal", "sampled"], "signal: online or auto"),
        (["--features", "hiden_mse=1"], "hidden_mse"),
    ],
)
def test_what_cannot_be_is_refused(home, tmp_path, more, said):
    refused = attar(*command(home, tmp_path / "out.gguf", *INSIDE, *more))
    assert refused.returncode == 2 and said in refused.stderr, refused.stderr
    assert not (tmp_path / "out.gguf").exists()


def test_a_teacher_that_is_trained_has_none_yet(home, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "teacher: {config: {family: llama, layers: 1, width: 32, heads: 1, kv_heads: 1, head_dim: 32, ffn: 64, context: 64}, "
        f"tokenizer: {home / 'teacher'}, pretrain: {{tokens: 100, features: {{hidden_mse: 1}}}}}}\n"
        f"data: {{train: [{TEXT / 'tiny_train.txt'}]}}\nstages: [export]\n"
    )
    refused = attar("recipes", "check", path)
    assert refused.returncode == 2 and "features: need a teacher" in refused.stdout + refused.stderr


@pytest.mark.parametrize("option", ["features: {hidden_mse: 1}", "on_policy: 0.5", "temperature: 2"])
def test_the_plan_has_the_teacher_beside_the_student(home, tmp_path, option):
    """Though its signal is kept with what it wrote."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"teacher: {home / 'teacher'}\ndata: {{train: [{{teacher_writes: {{tokens: 500, prompt: none, max_tokens: 50}}}}]}}\n"
        f"stages:\n  - prune: {{drop_ffn: 0.5, round_channels: 8}}\n  - distill: {{tokens: 500, {option}}}\n"
    )
    planned = attar("run", path, "--dry-run", "--out", tmp_path / "run", "--json")
    assert planned.returncode == 0, planned.stderr
    (what,) = (stage["what"] for stage in json.loads(planned.stdout)["stages"] if "distill" in stage["stage"])
    assert "the teacher beside the student" in what


def test_python_takes_them(home, tmp_path):
    sys.path.insert(0, str(BIN.parent / "python"))
    import attar as package

    done = package.distill(
        home / "teacher",
        home / "student",
        tmp_path / "out.gguf",
        data=TEXT / "tiny_train.txt",
        features={"hidden_mse": 1.0},
        feature_layers=["0:0"],
        **TRAINING,
    )
    assert done["steps"] > 5
    assert digest(tmp_path / "out.gguf")
