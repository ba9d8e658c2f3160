"""Blocks that learn behind error feedback (`block_steps`), through every door: nearer at the same bytes, and a killed run goes on to the same file."""

import gzip
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "build" / "python"))
import attar
from conftest import BIN, SHARED, shared

MODEL = SHARED / "models/stories260K.f32.gguf"
pytestmark = pytest.mark.recipe
FLAGS = ["--to", "Q2_0", "--keep", "embedding=Q8_0", "--calibration-tokens", 4096]
STEPS = ["--block-steps", 30]
RECIPE = """name: blocks
seed: 3
teacher: TEACHER
data: {calibration: [calibration.txt]}
stages:
  - quantize: {to: Q2_0, keep: {embedding: Q8_0}, calibration_tokens: 4096, block_steps: 30}
  - export
"""


def command(*arguments):
    return [str(BIN / "attar"), *map(str, arguments)]


def run(*arguments, code=0):
    force = [] if arguments[0] in ("run", "verify") else ["--force"]
    done = subprocess.run(command(*arguments, *force, "--json", "--quiet"), capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Text, a file of best, and one whose blocks learned, with what was said of it."""
    shared("models/stories260K.f32.gguf")
    home = tmp_path_factory.mktemp("blocks")
    with gzip.open(shared("tinystories/train.txt.gz"), "rt", encoding="utf-8") as text:
        stories = re.split(r"\n<\|endoftext\|>\n", text.read(120000))
    for name, part in (("calibration", stories[:80]), ("evaluation", stories[80:100])):
        (home / f"{name}.txt").write_text("\n<|endoftext|>\n".join(part), encoding="utf-8")
    text = ["--data", home / "calibration.txt", "--threads", 2]
    assert "blocks" not in run("quantize", MODEL, "-o", home / "best.gguf", *FLAGS, *text)
    log = home / "log.txt"
    said = run("quantize", MODEL, "-o", home / "learned.gguf", *FLAGS, *STEPS, *text, "--log-file", log)
    return home, said, log.read_text(encoding="utf-8")


def divergence(home, name):
    verified = run("verify", MODEL, home / name, "--data", home / "evaluation.txt", "--context", 128, "--numerics", "fp32", "--no-bench")
    return verified["results"]["fp32"]["kl"]["mean"]


def test_every_block_comes_nearer_at_the_same_bytes(finished):
    home, said, log = finished
    blocks = said["blocks"]
    assert [block["layer"] for block in blocks] == list(range(5))
    assert all(0 < block["error_after"] <= block["error_before"] for block in blocks)
    assert sum(block["error_after"] for block in blocks) < 0.98 * sum(block["error_before"] for block in blocks)
    assert log.count("learned: the error of its outputs is") == 5 and any("before blocks learned" in note for note in said["notes"])
    assert (home / "learned.gguf").stat().st_size == (home / "best.gguf").stat().st_size
    assert divergence(home, "learned.gguf") < divergence(home, "best.gguf")


def test_threads_and_python_give_the_same_bytes(finished, tmp_path):
    home, said, _ = finished
    again = run("quantize", MODEL, "-o", tmp_path / "out.gguf", *FLAGS, *STEPS, "--data", home / "calibration.txt", "--threads", 1)
    assert again["blocks"] == said["blocks"] and digest(tmp_path / "out.gguf") == digest(home / "learned.gguf")
    attar.quantize(MODEL, tmp_path / "python.gguf", data=home / "calibration.txt", to="Q2_0", keep={"embedding": "Q8_0"}, calibration_tokens=4096, block_steps=30)
    assert digest(tmp_path / "python.gguf") == digest(home / "learned.gguf")


def test_a_model_learns_on_from_what_its_blocks_learned(finished):
    """At a rate that moves no code: what is lost is what was lost, not what the codes before the blocks learned lose."""
    home, said, _ = finished
    still = ["--preset", "learned", "--qad-tokens", 500, "--qad-learning-rate", 1e-9]
    learned = run("quantize", MODEL, "-o", home / "still.gguf", *FLAGS, *STEPS, *still, "--data", home / "calibration.txt", "--threads", 2)
    assert learned["blocks"] == said["blocks"] and learned["qad"]["tokens"] >= 500
    assert divergence(home, "still.gguf") == pytest.approx(divergence(home, "learned.gguf"), rel=1e-4)
    assert divergence(home, "best.gguf") > 1.001 * divergence(home, "still.gguf")


def test_a_killed_run_goes_on_to_the_same_bytes(finished, tmp_path):
    home, said, _ = finished
    out, steps = tmp_path / "out.gguf", tmp_path / "out.gguf.steps"
    arguments = ["quantize", MODEL, "-o", out, *FLAGS, *STEPS, "--data", home / "calibration.txt"]
    child = subprocess.Popen(command(*arguments, "--threads", 1), stderr=subprocess.DEVNULL)
    while not (steps / "codes-layer-1.safetensors").exists():
        assert child.poll() is None, "it was done before it could be killed"
        time.sleep(0.001)
    child.kill()
    child.communicate()
    assert "block_steps (30, not 20)" in run(*arguments[:-4], "--block-steps", 20, *arguments[-2:], "--resume", code=2)
    again = run(*arguments, "--resume", "--threads", 2)
    assert again["layers_taken"] >= 2 and again["blocks"] == said["blocks"]
    assert digest(out) == digest(home / "learned.gguf") and not steps.exists()


def test_a_recipe_reports_what_blocks_learned(finished, tmp_path):
    home, said, _ = finished
    (home / "blocks.yaml").write_text(RECIPE.replace("TEACHER", str(MODEL)), encoding="utf-8")
    report = run("run", home / "blocks.yaml", "--out", tmp_path / "run")
    stage = next(stage for stage in report["results"]["stages"] if stage["kind"] == "quantize")
    assert [block["layer"] for block in stage["results"]["blocks"]] == [block["layer"] for block in said["blocks"]]
    assert "error that learning left in each block" in (tmp_path / "run/report.html").read_text(encoding="utf-8")


def test_a_size_weighs_outputs_by_what_predictions_depend_on(finished, tmp_path):
    home, _, _ = finished
    sized = ["--target-size", "200KB", "--calibration-tokens", 4096, "--data", home / "calibration.txt", "--cache", tmp_path / "cache", *STEPS]
    first = run("quantize", MODEL, "-o", tmp_path / "first.gguf", *sized)
    second = run("quantize", MODEL, "-o", tmp_path / "second.gguf", *sized)
    assert first["sensitivities"] == "measured" and second["sensitivities"] == "taken from the cache"
    assert digest(tmp_path / "first.gguf") == digest(tmp_path / "second.gguf") and first["blocks"] == second["blocks"]


def test_without_a_use_it_is_refused(finished, tmp_path):
    home, _, _ = finished
    arguments = ["quantize", MODEL, "-o", tmp_path / "out.gguf", "--to", "Q4_0"]
    assert "--data TEXT" in run(*arguments, *STEPS, code=2)
    assert "block_steps" in run(*arguments, *STEPS, "--data", home / "calibration.txt", "--preset", "fast", code=2)
