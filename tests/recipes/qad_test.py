"""Quantization-aware distillation through every door: the student comes nearer at the same bytes, and stops and goes on with the same bytes."""

import gzip
import hashlib
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "build" / "python"))
import attar
from conftest import BIN, shared

pytestmark = pytest.mark.recipe

RECIPE = """name: qad
seed: 3
teacher: TEACHER
data:
  train: [train.txt]
  calibration: [calibration.txt]
  evaluation: [evaluation.txt]
stages:
  - quantize: {to: Q4_0, METHOD}
  - export
  - verify: {context: 128, max_tokens: 3000, bench: false, samples: 0, numerics: fp32}
"""
QAD = "preset: learned, qad_tokens: 24000, qad_batch_tokens: 512, qad_learning_rate: 1.0e-4"
FLAGS = ["--to", "Q4_0", "--preset", "learned", "--qad-tokens", "3000", "--qad-batch-tokens", "512", "--qad-learning-rate", "3e-4", "--seed", "3"]


def run(*arguments, code=0):
    force = [] if arguments[0] == "run" else ["--force"]
    done = subprocess.run([str(BIN / "attar"), *map(str, arguments), *force, "--json", "--quiet"], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def recipe(home, name, method):
    (home / f"{name}.yaml").write_text(RECIPE.replace("METHOD", method).replace("TEACHER", str(shared("models/stories260K.f32.gguf"))), encoding="utf-8")
    return home / f"{name}.yaml"


def result(report, kind):
    return next(stage["results"] for stage in report["results"]["stages"] if stage["kind"] == kind)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of a real model of 260 thousand weights, which speaks, on stories."""
    home = tmp_path_factory.mktemp("qad")
    with gzip.open(shared("tinystories/train.txt.gz"), "rt", encoding="utf-8") as text:
        stories = re.split(r"\n<\|endoftext\|>\n", text.read(80000))
    for name, part in (("train", stories[:60]), ("calibration", stories[60:70]), ("evaluation", stories[70:80])):
        (home / f"{name}.txt").write_text("\n<|endoftext|>\n".join(part), encoding="utf-8")
    return home, run("run", recipe(home, "qad", QAD), "--out", home / "run", "--threads", 2)


def test_it_comes_nearer_to_the_teacher_at_the_same_bytes(finished):
    home, report = finished
    learned = result(report, "quantize")["qad"]
    assert learned["tokens"] >= 24000 and learned["signal"] == "online" and learned["curve"]
    assert 0 < learned["kl_after"] < 0.8 * learned["kl_before"]
    before = run("run", recipe(home, "best", "preset: best"), "--out", home / "best")
    assert (home / "best/export/model.gguf").stat().st_size == (home / "run/export/model.gguf").stat().st_size
    assert result(report, "verify")["fp32"]["kl"]["mean"] < 0.85 * result(before, "verify")["fp32"]["kl"]["mean"]
    page = (home / "run/report.html").read_text(encoding="utf-8")
    assert "<figcaption>1-quantize" in page and ": loss" in page


def test_a_recipe_that_is_killed_goes_on_with_the_same_bytes(finished, tmp_path):
    home, report = finished
    folder = tmp_path / "killed"
    child = subprocess.Popen([str(BIN / "attar"), "run", str(home / "qad.yaml"), "--out", str(folder), "--quiet", "--threads", "1"])
    while not (folder / "metrics.jsonl").exists() or '"1-quantize","step":3' not in (folder / "metrics.jsonl").read_text():
        assert child.poll() is None
        time.sleep(0.002)
    child.send_signal(signal.SIGINT)
    assert child.wait() == 130
    again = run("run", home / "qad.yaml", "--out", folder, "--resume", "--threads", 1)
    assert again["results"] == report["results"]
    for name in ("export/model.gguf", "metrics.jsonl"):
        assert digest(folder / name) == digest(home / "run" / name), name


def test_a_finished_stage_does_not_train_again(finished, tmp_path):
    home, report = finished
    folder = tmp_path / "run"
    shutil.copytree(home / "run", folder)
    (folder / "checkpoints/2-export/stage.json").unlink()
    shutil.rmtree(folder / "export")
    shutil.rmtree(folder / "data")  # which a training would want
    assert run("run", home / "qad.yaml", "--out", folder, "--resume")["results"] == report["results"]
    assert digest(folder / "export/model.gguf") == digest(home / "run/export/model.gguf")
    extra = folder / "checkpoints/1-quantize/final/extra.safetensors"
    (folder / "checkpoints/2-export/stage.json").unlink()
    extra.unlink()
    assert "damaged" in run("run", home / "qad.yaml", "--out", folder, "--resume", code=3)


def test_the_verb_stops_and_goes_on(finished, tmp_path):
    teacher, data = shared("models/stories260K.f32.gguf"), finished[0] / "train.txt"
    straight = tmp_path / "straight.gguf"
    said = run("quantize", teacher, "-o", straight, *FLAGS, "--data", data, "--threads", 2)
    assert said["preset"] == "learned" and said["qad"]["tokens"] >= 3000
    out = tmp_path / "out.gguf"
    child = subprocess.Popen([str(BIN / "attar"), "quantize", str(teacher), "-o", str(out), *FLAGS, "--data", str(data), "--threads", "1"], stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if line.startswith("learn"):
            break
    child.send_signal(signal.SIGINT)
    child.stderr.read()
    assert child.wait() == 130 and not out.exists() and (tmp_path / "out.gguf.steps").is_dir()
    assert "--resume" in run("quantize", teacher, "-o", out, *FLAGS, "--data", data, code=2)
    run("quantize", teacher, "-o", out, *FLAGS, "--data", data, "--resume")
    assert digest(out) == digest(straight) and not (tmp_path / "out.gguf.steps").exists()
    cached = run("quantize", teacher, "-o", out, *FLAGS, "--data", data, "--qad-signal", "cached", "--qad-trains", "scales")
    assert cached["qad"]["steps"] == said["qad"]["steps"] and digest(out) != digest(straight)
    attar.quantize(teacher, out, data=data, to="Q4_0", preset="learned", qad_tokens=3000, qad_batch_tokens=512, qad_learning_rate=3e-4, seed=3, force=True)
    assert digest(out) == digest(straight)


def test_it_learns_by_other_losses_and_tells_of_kl_all_the_same(finished, tmp_path):
    teacher, data = shared("models/stories260K.f32.gguf"), finished[0] / "train.txt"

    def learned(name, *more):
        return run("quantize", teacher, "-o", tmp_path / f"{name}.gguf", *FLAGS, "--data", data, "--threads", 2, *more)["qad"], digest(tmp_path / f"{name}.gguf")

    plain, bytes_of_plain = learned("plain")
    assert learned("said", "--qad-losses", "forward_kl=1") == (plain, bytes_of_plain)
    mixed, bytes_of_mixed = learned("mixed", "--qad-losses", "forward_kl=0.5", "jsd=0.5", "cross_entropy=0.1")
    alone, bytes_of_alone = learned("alone", "--qad-losses", "jsd=1")
    cached, _ = learned("cached", "--qad-losses", "jsd=1", "--qad-signal", "cached")
    assert len({bytes_of_plain, bytes_of_mixed, bytes_of_alone}) == 3
    for other in (mixed, alone):  # the first step is the file of best, whatever is learned by
        assert other["kl_before"] == pytest.approx(plain["kl_before"], rel=1e-6) and other["kl_after"] > 0
    assert cached["kl_before"] == pytest.approx(plain["kl_before"], rel=0.25)  # all beyond the top 64 is one bucket
    options = {"to": "Q4_0", "preset": "learned", "qad_tokens": 3000, "qad_batch_tokens": 512, "qad_learning_rate": 3e-4, "seed": 3}
    attar.quantize(teacher, tmp_path / "python.gguf", data=data, qad_losses={"forward_kl": 0.5, "jsd": 0.5, "cross_entropy": 0.1}, **options)
    assert digest(tmp_path / "python.gguf") == bytes_of_mixed


def test_a_recipe_has_losses_too(finished, tmp_path):
    home, _ = finished
    short = "preset: learned, qad_tokens: 1500, qad_batch_tokens: 512"
    report = run("run", recipe(home, "jsd", f"{short}, qad_losses: {{jsd: 1.0}}"), "--out", tmp_path / "jsd")
    learned = result(report, "quantize")["qad"]
    assert all(point["loss"] == pytest.approx(point["jsd"], rel=1e-6) and point["forward_kl"] > 0 for point in learned["curve"])
    assert learned["kl_before"] == pytest.approx(learned["curve"][0]["forward_kl"], rel=1e-6)
    assert "qad_losses: {jsd: 1}" in (tmp_path / "jsd/resolved.yaml").read_text(encoding="utf-8")
    for name, losses in (("usual", ""), ("said", ", qad_losses: {forward_kl: 1}")):
        run("run", recipe(home, name, short + losses), "--out", tmp_path / name)
    models = [digest(tmp_path / name / "export/model.gguf") for name in ("usual", "said", "jsd")]
    assert models[0] == models[1] != models[2]


def test_what_makes_no_sense_is_refused(finished, tmp_path):
    home, _ = finished
    teacher, data, out = shared("models/stories260K.f32.gguf"), home / "train.txt", tmp_path / "out.gguf"
    assert "--data TEXT" in run("quantize", teacher, "-o", out, *FLAGS, code=2)
    assert "--preset learned" in run("quantize", teacher, "-o", out, "--to", "Q4_0", "--train", data, code=2)
    assert "--preset learned" in run("quantize", teacher, "-o", out, "--to", "Q4_0", "--resume", code=2)
    assert "all or scales" in run("quantize", teacher, "-o", out, *FLAGS, "--data", data, "--qad-trains", "norms", code=2)
    for losses, words in ((["forward_kl=1", "uld=0.5"], "compare two tokenizers"), (["cross_entropy=1"], "a loss that asks the teacher"), (["jds=1"], "qad_losses.jds")):
        assert words in run("quantize", teacher, "-o", out, *FLAGS, "--data", data, "--qad-losses", *losses, code=2)
    with pytest.raises(attar.Error, match="compare two tokenizers"):
        attar.quantize(teacher, out, data=data, to="Q4_0", preset="learned", qad_losses={"aligned_likelihood": 1.0})
    across = recipe(home, "across", "preset: learned, qad_losses: {uld: 1}")
    assert "quantize.qad_losses.uld = 1: expected forward_kl" in run("run", across, "--out", tmp_path / "across", "--dry-run", code=2)
    bare = recipe(tmp_path, "bare", "preset: learned")
    bare.write_text("\n".join(line for line in bare.read_text().splitlines() if "train:" not in line), encoding="utf-8")
    assert "preset learned needs data.train" in run("run", bare, "--out", tmp_path / "bare", code=2)
