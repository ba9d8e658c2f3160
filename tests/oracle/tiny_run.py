"""recipes/tiny.yaml run once for all test files of a session, by the worker that needs it first; each file works on its own copy."""

import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess

from conftest import BIN, ROOT

RECIPE = str(ROOT / "recipes" / "tiny.yaml")
QUICK = ["stages.verify.bench=false", "stages.verify.samples=1", "stages.distill.checkpoint_every_steps=10", "teacher.pretrain.checkpoint_every_steps=40"]


def copy_of_the_tiny_run(tmp_path_factory):
    """The folder of a finished run with the overrides QUICK, which may be resumed, changed and thrown away."""
    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent  # the workers have a folder each in the session's
    with open(home / "tiny_run.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "tiny_run" / "report.html").exists():
            command = [BIN / "attar", "run", RECIPE, *QUICK, "--out", home / "tiny_run", "--resume", "--quiet"]
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
            assert done.returncode == 0, done.stderr
    return shutil.copytree(home / "tiny_run", tmp_path_factory.mktemp("tiny") / "run")


def attar(*arguments, **options):
    return subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, **options)


def run(folder, *more):
    done = attar("run", RECIPE, *QUICK, "--out", folder, "--json", "--quiet", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
