"""A student that learns from its own text: what is written, told and kept, with a kill in between, by verb, recipe and Python."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from bad_input_test import tiny
from conftest import BIN, ROOT

pytestmark = pytest.mark.recipe

TEXT = ROOT / "recipes" / "text"
OWN = {"on_policy": 0.5, "rollouts": 8, "rollout_tokens": 24, "rollout_prompt_tokens": 6, "replay": 0.25, "rollout_temperature": 0.7}
TRAINING = {"tokens": 1500, "batch_tokens": 128, "sequence_tokens": 64, "checkpoint_every_steps": 3}
RECIPE = f"""teacher: {{teacher}}
seed: 5
data: {{{{train: [{TEXT / "tiny_train.txt"}]}}}}
stages:
  - prune: {{{{drop_ffn: 0.5, round_channels: 8}}}}
  - distill: {{{{losses: {{{{reverse_kl: 1.0, cross_entropy: 0.1}}}}, {{more}}}}}}
"""


def attar(*arguments):
    return subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True)


def flags(options):
    return [word for name, value in options.items() for word in ("--" + name.replace("_", "-"), value)]


def distill(home, out, *more, own=OWN):
    command = ["distill", home / "teacher", "--student", home / "student", "-o", out, "--data", TEXT / "tiny_train.txt", "--losses", "reverse_kl=1"]
    return attar(*command, *flags(TRAINING), *flags(own), "--json", *more)


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    tiny(folder / "teacher")
    pruned = attar("prune", folder / "teacher", "-o", folder / "student", "--drop-ffn", 0.5, "--round-channels", 8, "--data", TEXT / "tiny_train.txt")
    assert pruned.returncode == 0, pruned.stderr
    return folder


def test_the_verb_says_what_it_learned_from_and_threads_change_no_byte(home, tmp_path):
    done = distill(home, tmp_path / "two.gguf", "--threads", 2)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rollouts"]["texts"] % 8 == 0 and 0 < told["rollouts"]["tokens"] <= 24 * told["rollouts"]["texts"]
    assert any("texts of its own" in note for note in told["notes"])
    assert distill(home, tmp_path / "one.gguf", "--threads", 1).returncode == 0
    assert digest(tmp_path / "one.gguf") == digest(tmp_path / "two.gguf")
    assert distill(home, tmp_path / "other.gguf", own={}).returncode == 0
    assert digest(tmp_path / "other.gguf") != digest(tmp_path / "two.gguf")


def test_killed_and_resumed_gives_the_same_bytes(home, tmp_path):
    assert distill(home, tmp_path / "whole.gguf").returncode == 0
    out = tmp_path / "killed.gguf"
    command = ["distill", home / "teacher", "--student", home / "student", "-o", out, "--data", TEXT / "tiny_train.txt", "--losses", "reverse_kl=1"]
    child = subprocess.Popen([str(BIN / "attar"), *map(str, [*command, *flags(TRAINING), *flags(OWN), "--json"])], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None and not list((tmp_path / "killed.gguf.steps").glob("step-[0-9]*")):
        pass
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it was done before it could be killed"
    resumed = distill(home, out, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert digest(out) == digest(tmp_path / "whole.gguf")


def test_a_recipe_shows_which_steps_were_its_own(home, tmp_path):
    more = ", ".join(f"{name}: {value}" for name, value in {**TRAINING, **OWN}.items())
    (tmp_path / "own.yaml").write_text(RECIPE.format(teacher=home / "teacher", more=more))
    planned = attar("run", tmp_path / "own.yaml", "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    done = attar("run", tmp_path / "own.yaml", "--out", tmp_path / "run", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    stage = json.loads(done.stdout)["results"]["stages"][-1]
    assert stage["results"]["rollouts"]["texts"] > 0 and stage["results"]["signal"] == "online"
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    own = [line for line in lines if line.get("on_policy")]
    assert 0 < len(own) < len(lines)
    assert all("cross_entropy" not in line and line["reverse_kl"] > 0 for line in own), "its own text teaches it nothing as such"
    assert all("cross_entropy" in line for line in lines if not line.get("on_policy"))
    assert "texts of its own" in (tmp_path / "run/report.html").read_text()


def test_python_takes_the_same_options(home, tmp_path):
    options = {"data": str(TEXT / "tiny_train.txt"), "losses": {"reverse_kl": 1.0}, **TRAINING, **OWN}
    code = f"import attar; attar.distill({str(home / 'teacher')!r}, {str(home / 'student')!r}, {str(tmp_path / 'out.gguf')!r}, **{options!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "build/python")})
    assert distill(home, tmp_path / "verb.gguf").returncode == 0
    assert digest(tmp_path / "out.gguf") == digest(tmp_path / "verb.gguf")


@pytest.mark.parametrize(
    "wrong, words",
    [
        (["--losses", "cross_entropy=1"], "a loss that asks a teacher, such as reverse_kl"),
        (["--on-policy", 1.5], "on_policy"),
        (["--rollout-tokens", 64], "fewer than sequence_tokens"),
        (["--rollout-tokens", 60], "what the student could go on from"),
        (["--replay", 1], "replay"),
    ],
)
def test_what_cannot_be_is_said(home, tmp_path, wrong, words):
    command = ["distill", home / "teacher", "--student", home / "student", "-o", tmp_path / "out.gguf", "--data", TEXT / "tiny_train.txt", "--on-policy", 0.5]
    given = {name: value for name, value in TRAINING.items() if "--" + name.replace("_", "-") not in wrong}
    if "--on-policy" in wrong:
        command = command[:-2]
    done = attar(*command, *flags(given), *wrong)
    assert done.returncode == 2 or done.returncode == 3, done.stderr
    assert words in done.stderr, done.stderr
    assert not (tmp_path / "out.gguf").exists()
