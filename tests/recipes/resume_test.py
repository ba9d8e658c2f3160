"""A run folder knows its recipe and overrides: what it is resumed with, which keys another recipe has otherwise, and what newer versions add."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT

pytestmark = pytest.mark.recipe

RECIPE = """name: known
teacher:
  config: {layers: 1, width: 32, heads: 1, kv_heads: 1, head_dim: 32, ffn: 32, context: 64}
  tokenizer: tokenizer
data: {evaluation: [text.txt]}
stages:
  - quantize: {to: Q8_0, importance: false}
  - export
  - verify: {context: 64, bench: false, samples: 1}
"""


def attar(*arguments):
    return subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True)


def ran(*arguments):
    done = attar("run", *arguments, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["results"]


@pytest.fixture
def home(tmp_path):
    """A recipe, and its run with two overrides."""
    shutil.copytree(ROOT / "recipes/text/tiny_tokenizer", tmp_path / "tokenizer")
    (tmp_path / "text.txt").write_text("A red boat was under the bed. It was a very good day for everyone.\n", encoding="utf-8")
    (tmp_path / "known.yaml").write_text(RECIPE, encoding="utf-8")
    ran(tmp_path / "known.yaml", "seed=4", "stages.verify.samples=2", "--out", tmp_path / "run")
    return tmp_path


def test_a_resume_needs_no_overrides_again(home):
    results = json.loads((home / "run/report.json").read_text())["results"]
    assert ran("--resume", home / "run") == results
    assert ran(home / "known.yaml", "--out", home / "run", "--resume") == results
    assert ran(home / "known.yaml", "seed=4", "stages.verify.samples=2", "--out", home / "run", "--resume") == results
    (home / "known.yaml").unlink()
    assert ran("--resume", home / "run") == results


def test_what_differs_is_named(home):
    done = attar("run", "--resume", home / "run", "seed=5")
    assert done.returncode == 2 and "seed (4 before, 5 now)" in done.stderr and "samples" not in done.stderr
    done = attar("run", home / "known.yaml", "--out", home / "run", "--resume", "seed=4")
    assert done.returncode == 2 and "stages.2.verify.samples (2 before, 1 now)" in done.stderr
    (home / "known.yaml").write_text(RECIPE.replace("Q8_0", "Q4_0"), encoding="utf-8")
    done = attar("run", home / "known.yaml", "--out", home / "run", "--resume")
    assert done.returncode == 2 and "another recipe: stages.0.quantize.to (Q8_0 before, Q4_0 now); " in done.stderr
    assert f"attar run --resume {home / 'run'}" in done.stderr
    (home / "known.yaml").write_text("# words\n" + RECIPE.replace("name: known", "name:   known"), encoding="utf-8")
    ran(home / "known.yaml", "--out", home / "run", "--resume")


def test_other_defaults_of_another_version_do_not_orphan_a_run(home):
    resolved = home / "run/resolved.yaml"
    whole = resolved.read_text(encoding="utf-8")
    assert "baseline: true\n" in whole and "context: 64\n" in whole
    lacking = "".join(line for line in whole.splitlines(True) if "baseline:" not in line)
    for how in (["--resume", home / "run"], [home / "known.yaml", "--out", home / "run", "--resume"]):
        resolved.write_text(lacking, encoding="utf-8")
        ran(*how)
        assert resolved.read_text(encoding="utf-8") == whole
        changed = whole.replace("calibration_tokens: 0", "calibration_tokens: 4096")
        assert changed != whole
        resolved.write_text(changed, encoding="utf-8")
        ran(*how)
        assert resolved.read_text(encoding="utf-8") == changed
    resolved.write_text(lacking, encoding="utf-8")
    done = attar("run", "--resume", home / "run", "stages.verify.baseline=false")
    assert done.returncode == 2 and "stages.2.verify.baseline (true before, false now)" in done.stderr


def test_nothing_to_resume_is_said(home):
    done = attar("run", home / "known.yaml", "--out", home / "new", "--resume")
    assert done.returncode == 0 and f"nothing to resume in {home / 'new'}: it starts from the beginning" in done.stderr
    done = attar("run", "--resume", home / "nowhere")
    assert done.returncode == 2 and "nowhere: is not there: nothing to resume" in done.stderr
    done = attar("run", "--resume", home)
    assert done.returncode == 2 and "holds no run to resume" in done.stderr
    done = attar("run", home / "run")
    assert done.returncode == 2 and f"attar run --resume {home / 'run'}" in done.stderr
    done = attar("run", "--resume", home / "run", "--out", home / "other")
    assert done.returncode == 2 and "is not the folder of the run to resume" in done.stderr
