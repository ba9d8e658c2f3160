"""recipes/tiny.yaml killed at drawn moments, and a finished run resumed: the same bytes, and nothing done again."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT
from tiny_run import QUICK, RECIPE, copy_of_the_tiny_run, digest, run

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = copy_of_the_tiny_run(tmp_path_factory)
    return folder, json.loads((folder / "report.json").read_text())


STAGES = ["0-teacher", "0-data", "1-prune", "2-distill", "3-quantize", "4-export", "5-verify"]


def record(folder, stage):
    return pathlib.Path(folder) / "checkpoints" / stage / "stage.json"


def begun_until(reference, folder, stage):
    """A copy of the reference run as it was before `stage`."""
    shutil.copytree(reference, folder)
    for later in STAGES[STAGES.index(stage) :]:
        shutil.rmtree(folder / "checkpoints" / later)
    for made in ["report.json", "report.html", *(["data"] if stage in STAGES[:2] else []), *(["export"] if stage in STAGES[:6] else [])]:
        path = folder / made
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def kill_in_stage(folder, stage, delay):
    """Goes on with the run and kills it `delay` seconds after `stage` began. -> False: the stage was over by then."""
    command = [str(BIN / "attar"), "run", RECIPE, *QUICK, "--out", str(folder), "--resume", "--quiet"]
    log, begins = folder / "log.txt", f"{stage}: begins\n"
    before = log.read_text().count(begins)
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while log.read_text().count(begins) == before:
        assert child.poll() is None, f"the run ended before {stage}"
        time.sleep(0.001)
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    child.wait()
    return not record(folder, stage).exists()


SEED = int(os.environ.get("ATTAR_KILL_SEED", time.time_ns() % 1_000_000))  # of the moments; a failure names it


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_a_random_moment_of_a_stage_and_resumed(reference, tmp_path, stage):
    folder, _ = reference
    delay = random.Random(f"{SEED} {stage}").random() * json.loads(record(folder, stage).read_text())["measurements"]["seconds"]
    for attempt in range(12):
        begun_until(folder, tmp_path / str(attempt), stage)
        if kill_in_stage(tmp_path / str(attempt), stage, delay):
            break
        delay /= 4
    else:
        pytest.fail(f"{stage} was never caught at work, ATTAR_KILL_SEED={SEED}")
    run(tmp_path / str(attempt), "--resume")
    assert digest(tmp_path / str(attempt) / "export/model.gguf") == digest(folder / "export/model.gguf"), f"killed {delay:.3f} s into {stage}, ATTAR_KILL_SEED={SEED}"
    leftovers = [path for path in (tmp_path / str(attempt)).rglob("*") if ".tmp-" in path.name or ".old-" in path.name]
    assert not leftovers


def work_of(folder):
    """When each file that a stage wrote was written."""
    return {path: path.stat().st_mtime_ns for part in ("checkpoints", "data", "cache", "export") for path in (folder / part).rglob("*")}


def test_a_finished_run_resumes_at_once(reference):
    folder, report = reference
    before = work_of(folder)
    assert len([path for path in before if path.name == "stage.json"]) == len(STAGES)
    assert run(folder, "--resume")["results"] == report["results"]
    assert work_of(folder) == before  # nothing was done again
