"""What recipes/TUTORIAL.md prints is run, in its order, by a user who has nothing but the build and the pages."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TUTORIAL = (ROOT / "recipes" / "TUTORIAL.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TUTORIAL, re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tutorial")
    for name in ("build", "recipes", ".venv"):
        (path / name).symlink_to(ROOT / name)
    return path


def test_the_ten_steps(folder):
    said = {}
    for command in "".join(blocks("sh")).strip().splitlines():
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
        said[command] = done.stdout
    assert "smaller" in said["build/bin/attar report runs/stories runs/smaller"]
    assert (folder / "story.gguf").stat().st_size <= 850_000
    assert len(said['build/bin/attar-run generate story.gguf "One day, a small" -n 30'].split()) > 8


def test_the_same_from_python(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "build" / "python")}
    done = subprocess.run([sys.executable, "-c", "".join(blocks("python"))], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    kl, top1 = (float(number) for number in done.stdout.split("\n")[0].split())
    assert 0 < kl < 1 and top1 > 0.5
