"""What a page prints, run as printed: its code blocks, and a folder that looks like the project's root to their commands."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def blocks(page, language):
    return "".join(re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S))


def like_the_root(folder, names=("build", "recipes", ".venv")):
    """What the commands write goes into `folder`."""
    for name in names:
        (folder / name).symlink_to(ROOT / name)
    return folder


def run_lines(page, folder):
    """Every line of the shell blocks. -> what each printed"""
    said = {}
    for command in blocks(page, "sh").strip().splitlines():
        done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
        said[command] = done.stdout
    assert said
    return said


def run_python(page, folder):
    """The Python blocks, one after another. -> what they printed"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "build" / "python")}
    done = subprocess.run([sys.executable, "-c", blocks(page, "python")], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr[-2000:]
    return done.stdout
