"""The teacher's signal, kept as HDF5: what it leaves open is reported."""
import json
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from bad_input_test import tiny  # noqa: E402
from conftest import BIN, ROOT  # noqa: E402

pytestmark = pytest.mark.recipe

TEXT = ROOT / "recipes" / "text"
RECIPE = f"""teacher: {{teacher}}
data:
  train: [{{{{teacher_writes: {{{{tokens: 600, prompt: none, max_tokens: 60, signal_top_k: 8}}}}}}}}]
  calibration: [{TEXT / "tiny_train.txt"}]
stages:
  - prune: {{{{vocab: 800, calibration_tokens: 500}}}}
  - distill: {{{{tokens: 500, batch_tokens: 256}}}}
"""


def attar(*arguments):
    return subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True)


def run(recipe, folder, *more):
    done = attar("run", recipe, "--out", folder, "--json", "--quiet", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_the_signal_leaves_open_is_in_metrics_and_report(tmp_path):
    (tmp_path / "short.yaml").write_text(RECIPE.format(teacher=tiny(tmp_path / "teacher")))
    stage = run(tmp_path / "short.yaml", tmp_path / "run")["results"]["stages"][-1]
    results = stage["results"]
    assert results["signal"] == "cached" and results["unsignalled"] == "cross_entropy"
    assert 0 < results["unsignalled_share"] < 1 and 0 < results["dropped_mass"] < 1
    assert any("cross_entropy" in note for note in stage["notes"]) and any("mass" in note for note in stage["notes"])
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    mean = sum(line["unsignalled"] * (line["tokens"] - before) for line, before in zip(lines, [0, *(line["tokens"] for line in lines)])) / lines[-1]["tokens"]
    assert results["tokens"] == lines[-1]["tokens"] and mean == pytest.approx(results["unsignalled_share"], rel=1e-6)
    assert all(line["forward_kl"] > 0 and line["cross_entropy"] > 1 for line in lines)
    assert "unsignalled_share" in (tmp_path / "run/report.html").read_text()
