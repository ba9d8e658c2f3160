"""The README's commands work as printed: its shell block and its Python block are run."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that looks like the project's root to the commands, so that what they write goes elsewhere."""
    path = tmp_path_factory.mktemp("readme")
    for name in ("build", "recipes", ".venv"):
        (path / name).symlink_to(ROOT / name)
    return path


def test_shell_block(folder):
    for command in "".join(blocks("sh")).strip().splitlines():
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, command + "\n" + done.stderr[-2000:]


def test_python_block(folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "build" / "python")}
    done = subprocess.run([sys.executable, "-c", "".join(blocks("python"))], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr[-2000:]


def test_every_verb_shows_help_with_examples():
    for program in ("attar", "attar-run"):
        listing = subprocess.run([ROOT / "build/bin" / program, "--help"], capture_output=True, text=True, check=True).stdout
        verbs = re.findall(r"^  ([a-z]+)  ", listing.split("Subcommands:")[-1], re.M)
        assert len(verbs) >= 7
        for verb in verbs:
            help_text = subprocess.run([ROOT / "build/bin" / program, verb, "--help"], capture_output=True, text=True, check=True).stdout
            assert re.search(rf"attar(-run)? {verb}\b", help_text.split("Examples:")[-1]), verb
