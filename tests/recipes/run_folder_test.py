"""The run folder: what a run records as it goes, that a killed one loses none of it, and that it goes on beside the same inputs alone."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT

pytestmark = pytest.mark.recipe

TEXT = ROOT / "recipes" / "text"
RECIPE = f"""name: short
seed: 3
teacher:
  config: {{layers: 4, width: 64, heads: 2, kv_heads: 2, ffn: 128, context: 256}}
  tokenizer: {TEXT / "tiny_tokenizer"}
  pretrain: {{tokens: 6000, batch_tokens: 512, sequence_tokens: 128, checkpoint_every_steps: 2}}
data:
  train: [train.txt, {{file: extra.txt, weight: 2.5}}]
  calibration: [calibration.txt]
  evaluation: [evaluation.txt]
stages:
  - distill: {{tokens: 2000, batch_tokens: 512, sequence_tokens: 128, signal: cached, signal_top_k: 8}}
  - distill: {{tokens: 3000, batch_tokens: 512, sequence_tokens: 128, checkpoint_every_steps: 2}}
  - quantize: {{to: Q8_0, importance: false}}
  - export
"""
EXPORT = "stages: [{quantize: {to: Q8_0, importance: false}}, export]\n"


def documents(name):
    return re.split(r"\n<\|endoftext\|>\n", (TEXT / name).read_text(encoding="utf-8"))


def write(path, texts):
    path.write_text("\n<|endoftext|>\n".join(texts), encoding="utf-8")


def attar(*arguments, **options):
    return subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True, **options)


def run(recipe, folder, *more):
    done = attar("run", recipe, "--out", folder, "--json", "--quiet", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A recipe with a document of the evaluation text in train, one of train in calibration, and a weighted file."""
    home = tmp_path_factory.mktemp("short")
    train, held_out = documents("tiny_train.txt"), documents("held_out.txt")
    write(home / "train.txt", [*train[:30], held_out[0]])
    write(home / "extra.txt", train[30:34])
    write(home / "calibration.txt", [*held_out[1:5], train[0]])  # stories share runs of words
    write(home / "evaluation.txt", held_out[:1])
    (home / "short.yaml").write_text(RECIPE, encoding="utf-8")
    return home, run(home / "short.yaml", home / "a run")


@pytest.fixture
def copy(finished, tmp_path):
    """The finished recipe and run in a folder of its own."""
    shutil.copytree(finished[0], tmp_path / "copy")
    return tmp_path / "copy"


def stages(report):
    return {stage["name"]: stage for stage in report["results"]["stages"]}


def test_splits_stay_apart_and_files_weigh_what_they_should(finished):
    teacher, data = (stages(finished[1])[name] for name in ("0-teacher", "0-data"))
    assert teacher["results"]["pretrain"]["dropped"] == 1 and "evaluation text" in teacher["notes"][0]
    train, calibration = data["results"]["train"], data["results"]["calibration"]
    assert (train["documents"], train["dropped"]) == (40, 1)  # 30 and 2.5 times 4
    assert (calibration["documents"], calibration["dropped"]) == (4, 1)
    assert any("evaluation text" in note for note in data["notes"]) and any("data.train" in note for note in data["notes"])


def test_a_cached_signal_stays_with_its_stage(finished):
    assert [stages(finished[1])[name]["results"]["signal"] for name in ("1-distill", "2-distill")] == ["cached", "online"]


def test_the_report_says_how_it_was_made(finished):
    home, report = finished
    command = f"{BIN / 'attar'} run {home / 'short.yaml'} --out '{home / 'a run'}' --json --quiet"
    assert report["measurements"]["commands"] == [command]
    page = (home / "a run/report.html").read_text(encoding="utf-8")
    assert command in page.replace("&#39;", "'") and "0-teacher, pretraining: loss" in page
    for key in ("attar", "libtorch", "compiler", "cpu"):
        assert report["measurements"]["machine"][key] in page
    assert str(home) not in json.dumps(report["results"])


def steps(folder, stage):
    return [line for line in (folder / "metrics.jsonl").read_text().splitlines() if f'"stage":"{stage}"' in line]


def saved_steps(folder, stage):
    return [path for path in folder.glob(f"checkpoints/{stage}/*") if re.fullmatch(r"step-\d+", path.name)]


def test_killed_in_training_and_resumed_the_figures_are_the_same(finished, copy):
    home, report = finished
    folder = copy / "killed"
    child = subprocess.Popen([str(BIN / "attar"), "run", str(copy / "short.yaml"), "--out", str(folder), "--quiet"])
    while not saved_steps(folder, "0-teacher") or len(steps(folder, "0-teacher")) < 3:  # written as they happen
        assert child.poll() is None and not (folder / "checkpoints/0-teacher/final").exists()
        time.sleep(0.002)
    child.kill()
    child.wait()
    again = run(copy / "short.yaml", folder, "--resume")
    assert again["results"] == report["results"] and len(again["measurements"]["commands"]) == 2
    assert (folder / "metrics.jsonl").read_text() == (home / "a run/metrics.jsonl").read_text()


def test_killed_before_a_stage_is_recorded(finished, copy):
    folder = copy / "a run"
    (folder / "checkpoints/0-teacher/stage.json").unlink()
    for lost in ("0-data/stage.json", "2-distill/stage.json", "3-quantize/stage.json", "4-export/stage.json"):
        (folder / "checkpoints" / lost).unlink()
    shutil.rmtree(folder / "checkpoints/2-distill/final")
    with open(folder / "metrics.jsonl", "a") as metrics:
        metrics.write('{"stage":"2-distill","step":99}\n{"stage":"2-dis')
    assert run(copy / "short.yaml", folder, "--resume")["results"] == finished[1]["results"]
    for name in ("export/model.gguf", "metrics.jsonl"):
        assert digest(folder / name) == digest(finished[0] / "a run" / name), name


def test_a_run_goes_on_beside_the_same_files_alone(copy):
    for name in ("train.txt", "evaluation.txt"):
        before = (copy / name).read_text(encoding="utf-8")
        (copy / name).write_text(before + " More.", encoding="utf-8")
        changed = attar("run", copy / "short.yaml", "--out", copy / "a run", "--resume")
        assert changed.returncode == 2 and f"{name}: not the contents" in changed.stderr and "--out" in changed.stderr
        (copy / name).write_text(before, encoding="utf-8")
    run(copy / "short.yaml", copy / "a run", "--resume")


def test_models_beside_the_recipe_are_found_and_may_not_change(copy):
    recipe = copy / "given.yaml"
    shutil.copytree(copy / "a run/checkpoints/0-teacher/final", copy / "teach")
    recipe.write_text("teacher: teach\nstudent: teach\n" + EXPORT)
    assert attar("run", recipe, "--dry-run", cwd=ROOT).returncode == 0
    run(recipe, copy / "given")
    shutil.rmtree(copy / "teach")
    shutil.copytree(copy / "a run/checkpoints/1-distill/final", copy / "teach")
    changed = attar("run", recipe, "--out", copy / "given", "--resume")
    assert changed.returncode == 2 and "student, teacher: not the contents" in changed.stderr


def test_auto_asks_the_teacher_where_the_kept_signal_is_of_another_temperature(copy):
    recipe = copy / "warm.yaml"
    recipe.write_text(
        f"teacher: {copy / 'a run/checkpoints/0-teacher/final'}\n"
        "data: {train: [{teacher_writes: {tokens: 300, prompt: none, max_tokens: 32, signal_top_k: 4}}]}\n"
        "stages: [{distill: {tokens: 200, batch_tokens: 128, temperature: 2}}, {distill: {tokens: 200, batch_tokens: 128}}]\n"
    )
    signals = [stage["results"].get("signal") for stage in run(recipe, copy / "warm")["results"]["stages"]]
    assert signals[2:] == ["online", "cached"]


def test_a_start_that_failed_leaves_the_folder_free(copy):
    recipe, folder = copy / "given.yaml", copy / "given"
    shutil.copytree(copy / "a run/checkpoints/0-teacher/final", copy / "teach")
    write(copy / "same.txt", [documents("held_out.txt")[0]])
    recipe.write_text("teacher: teach\ndata: {train: [same.txt], evaluation: [evaluation.txt]}\n" + EXPORT)
    failed = attar("run", recipe, "--out", folder)
    assert failed.returncode == 3 and "no document is left" in failed.stderr
    recipe.write_text("teacher: teach\ndata: {train: [train.txt], evaluation: [evaluation.txt]}\n" + EXPORT)
    run(recipe, folder)
    recipe.write_text("teacher: teach\nseed: 1\n" + EXPORT)
    other = attar("run", recipe, "--out", folder)
    assert other.returncode == 2 and "another recipe" in other.stderr


def test_a_disk_that_fails_at_any_write_costs_no_finished_stage(finished, tmp_path):
    """Some of the writes of a short run, each in a run of its own: exit code 5, and the resumed run has the same results."""
    recipe = tmp_path / "run.yaml"
    recipe.write_text(
        f"teacher: {finished[0] / 'a run/checkpoints/0-teacher/final'}\ndata: {{train: [{finished[0] / 'train.txt'}]}}\n"
        "stages: [{distill: {tokens: 1000, batch_tokens: 512, checkpoint_every_steps: 1, losses: {cross_entropy: 1}}}, {quantize: {to: Q8_0, importance: false}}, export]\n"
    )
    whole = run(recipe, tmp_path / "whole")["results"]
    environment = {**os.environ, "LD_PRELOAD": str(BIN.parent / "lib" / "libfailing_writes.so")}
    failures = 0
    for n in range(2, 1000, 13):
        folder = tmp_path / str(n)
        done = attar("run", recipe, "--out", folder, "--quiet", env={**environment, "FAIL_NTH_WRITE": str(n)})
        if done.returncode == 0:
            break
        assert done.returncode == 5 and str(folder) in done.stderr, done.stderr
        assert run(recipe, folder, "--resume")["results"] == whole, n
        assert digest(folder / "export/model.gguf") == digest(tmp_path / "whole/export/model.gguf")
        shutil.rmtree(folder)
        failures += 1
    assert failures > 5


def test_damaged_records_are_named_and_cost_nothing_else(copy):
    folder = copy / "a run"
    for stage in ("3-quantize", "4-export"):
        shutil.rmtree(folder / "checkpoints" / stage)
    (folder / "env.json").write_text("{")
    for name in ("checkpoints/2-distill/final/state.json", "data/train.dropped.json"):
        whole = (folder / name).read_text()
        (folder / name).write_text(whole.rstrip()[:-1])
        done = attar("run", copy / "short.yaml", "--out", folder, "--resume", "--quiet")
        assert done.returncode == 3 and name in done.stderr, done.stderr
        (folder / name).write_text(whole)
    run(copy / "short.yaml", folder, "--resume")
    assert len(json.loads((folder / "env.json").read_text())["commands"]) == 2  # these two starts
