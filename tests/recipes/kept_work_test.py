"""What a quantization has measured and chosen lies on disk: a killed one goes on to the same bytes, another budget measures nothing."""

import gzip
import hashlib
import json
import pathlib
import random
import re
import shutil
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
TOKENS = ["--calibration-tokens", 16384]
SIZED = ["--target-size", "200KB", *TOKENS]
RECIPE = """name: kept
seed: 3
teacher: TEACHER
data: {calibration: [calibration.txt]}
stages:
  - quantize: {target_size: 200KB, calibration_tokens: 16384}
  - export
"""


def command(*arguments):
    return [str(BIN / "attar"), *map(str, arguments)]


def run(*arguments, code=0):
    force = [] if arguments[0] == "run" else ["--force"]
    done = subprocess.run(command(*arguments, *force, "--json", "--quiet"), capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Text, and the file of an unbroken run on it. Every test asks for it, so each is skipped where the data is not."""
    shared("models/stories260K.f32.gguf")
    home = tmp_path_factory.mktemp("kept")
    with gzip.open(shared("tinystories/train.txt.gz"), "rt", encoding="utf-8") as text:
        stories = re.split(r"\n<\|endoftext\|>\n", text.read(80000))
    (home / "calibration.txt").write_text("\n<|endoftext|>\n".join(stories[:80]), encoding="utf-8")
    (home / "kept.yaml").write_text(RECIPE.replace("TEACHER", str(MODEL)), encoding="utf-8")
    said = run("quantize", MODEL, "-o", home / "straight.gguf", *SIZED, "--data", home / "calibration.txt", "--threads", 2)
    assert said["sensitivities"] == "measured" and "layers_taken" not in said and not (home / "straight.gguf.steps").exists()
    return home, home / "calibration.txt", home / "straight.gguf"


def kill_once(child, there):
    """SIGKILL as soon as `there` says so."""
    while not there():
        assert child.poll() is None, "it was done before it could be killed"
        time.sleep(0.001)
    child.kill()
    child.communicate()


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed_again_and_again_gives_the_same_bytes(finished, tmp_path, seed):
    _, text, straight = finished
    draw = random.Random(seed)
    out, steps = tmp_path / "out.gguf", tmp_path / "out.gguf.steps"
    arguments = ["quantize", MODEL, "-o", out, *SIZED, "--data", text]
    child = subprocess.Popen(command(*arguments, "--threads", 1), stderr=subprocess.PIPE, text=True)
    stage = draw.choice(["sensitivity", "inputs", "probes"])
    for line in child.stderr:
        if line.startswith(stage):
            break
    child.kill()
    child.communicate()
    assert not out.exists() and not list(steps.glob("codes-*"))
    layers = sorted(draw.sample(range(5), 2))
    for layer in layers:
        child = subprocess.Popen(command(*arguments, "--threads", draw.choice([1, 2]), "--resume"), stderr=subprocess.DEVNULL)
        kill_once(child, (steps / f"codes-layer-{layer}.safetensors").exists)
        assert not out.exists()
    assert "--resume" in run(*arguments, code=2)
    said = run(*arguments, "--resume", "--threads", draw.choice([1, 2]))
    assert said["layers_taken"] > layers[1] and said["sensitivities"] == "taken from the cache"
    assert digest(out) == digest(straight) and not steps.exists()


def broken_off(out, text, *options):
    child = subprocess.Popen(command("quantize", MODEL, "-o", out, *options, "--data", text), stderr=subprocess.DEVNULL)
    kill_once(child, (out.parent / (out.name + ".steps") / "codes-layer-1.safetensors").exists)


def test_what_a_killed_run_left_is_for_the_same_run_alone(finished, tmp_path):
    _, text, _ = finished
    out = tmp_path / "out.gguf"
    broken_off(out, text, "--to", "Q4_0", *TOKENS)
    arguments = ["quantize", MODEL, "-o", out, *TOKENS, "--data", text, "--resume"]
    assert 'to ("Q4_0", not "Q5_0")' in run(*arguments, "--to", "Q5_0", code=2)
    other = tmp_path / "other.txt"
    other.write_text(text.read_text(encoding="utf-8")[5000:], encoding="utf-8")
    assert "another run: text;" in run("quantize", MODEL, "-o", out, "--to", "Q4_0", *TOKENS, "--data", other, "--resume", code=2)
    run("quantize", MODEL, "-o", tmp_path / "model.gguf", "--to", "F16")
    assert "another run: model;" in run("quantize", tmp_path / "model.gguf", *arguments[2:], "--to", "Q4_0", code=2)
    codes = tmp_path / "out.gguf.steps/codes-layer-0.safetensors"
    whole = codes.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        codes.write_bytes(damaged)
        assert "codes-layer-0.safetensors" in run(*arguments, "--to", "Q4_0", code=3)
    codes.write_bytes(whole)
    assert run(*arguments, "--to", "Q4_0")["layers_taken"] >= 2
    straight = tmp_path / "straight.gguf"
    run("quantize", MODEL, "-o", straight, "--to", "Q4_0", *TOKENS, "--data", text)
    assert digest(out) == digest(straight)


def test_a_resume_takes_the_place_of_its_own_importance_matrix(finished, tmp_path):
    _, text, _ = finished
    out, matrix = tmp_path / "out.gguf", tmp_path / "matrix.gguf"
    options = ["--to", "Q4_0", *TOKENS, "--imatrix-out", matrix]
    broken_off(out, text, *options)
    written = digest(matrix)
    again = ["quantize", MODEL, "-o", out, *options, "--data", text, "--quiet"]
    done = subprocess.run(command(*again, "--resume"), capture_output=True, text=True)
    assert done.returncode == 0 and digest(matrix) == written, done.stderr
    out.unlink()
    done = subprocess.run(command(*again), capture_output=True, text=True)
    assert done.returncode == 2 and "matrix.gguf" in done.stderr and "--force" in done.stderr


def test_another_budget_measures_nothing(finished, tmp_path):
    _, text, straight = finished
    out, cache, log = tmp_path / "out.gguf", tmp_path / "cache", tmp_path / "log.txt"
    arguments = ["quantize", MODEL, "-o", out, "--data", text, "--cache", cache, "--log-file", log]
    assert run(*arguments, "--target-size", "220KB", *TOKENS)["sensitivities"] == "measured"
    assert "taken from" not in log.read_text()
    said = run(*arguments, *SIZED)
    assert said["sensitivities"] == "taken from the cache" and digest(out) == digest(straight)
    assert f"taken from the cache: {cache}" in log.read_text() and len(list(cache.iterdir())) == 1
    kept = next(cache.iterdir())
    kept.write_bytes(kept.read_bytes()[:-3])
    said = run(*arguments, *SIZED)
    assert said["sensitivities"] == "measured" and any("measured again" in note for note in said["notes"]) and digest(out) == digest(straight)


def test_python_takes_the_same_keywords(finished, tmp_path):
    _, text, _ = finished
    said, digests = [], set()
    for size in ("220KB", "200KB", "220KB"):
        said.append(attar.quantize(MODEL, tmp_path / "out.gguf", data=text, target_size=size, calibration_tokens=16384, cache=tmp_path / "cache", resume=True, force=True))
        digests.add(digest(tmp_path / "out.gguf"))
    assert [one["sensitivities"] for one in said] == ["measured", "taken from the cache", "taken from the cache"] and len(digests) == 2
    assert all(one["layers_taken"] == 0 for one in said)


def test_flags_without_a_use_are_refused(finished, tmp_path):
    _, text, _ = finished
    arguments = ["quantize", MODEL, "-o", tmp_path / "out.gguf"]
    for more in (["--to", "Q4_0", "--data", text], ["--target-size", "200KB"], ["--target-size", "200KB", "--no-importance"]):
        assert "--target-size" in run(*arguments, *more, "--cache", tmp_path / "cache", code=2), more
    assert "is in the way" in run(*arguments, *SIZED, "--data", text, "--cache", text, code=2)
    for more in (["--to", "Q4_0"], ["--to", "Q4_0", "--data", text, "--preset", "fast"]):
        assert "nothing is kept" in run(*arguments, *more, "--resume", code=2), more


def test_a_recipe_goes_on_and_takes_what_it_has(finished, tmp_path):
    home, _, _ = finished
    report = run("run", home / "kept.yaml", "--out", home / "run", "--threads", 2)
    folder = tmp_path / "run"
    child = subprocess.Popen(command("run", home / "kept.yaml", "--out", folder, "--quiet", "--threads", 1))
    kill_once(child, (folder / "checkpoints/1-quantize/codes-layer-2.safetensors").exists)
    again = run("run", home / "kept.yaml", "--out", folder, "--resume")
    assert again["results"] == report["results"] and digest(folder / "export/model.gguf") == digest(home / "run/export/model.gguf")
    spent = next(stage["measurements"] for stage in again["measurements"]["stages"] if stage["name"] == "1-quantize")
    assert spent["sensitivities_taken"] and spent["layers_taken"] >= 3
    assert "taken from the cache" in (folder / "log.txt").read_text()
    (folder / "checkpoints/2-export/stage.json").unlink()  # codes are not made again for an export
    shutil.rmtree(folder / "export")
    assert run("run", home / "kept.yaml", "--out", folder, "--resume")["results"] == report["results"]
    assert "5 of 5 layers are taken" in (folder / "log.txt").read_text()
