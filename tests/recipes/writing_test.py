"""What a verb may write over, and what a failed write leaves: whole files, and everything that was there."""

import os
import shutil
import subprocess

import pytest
from bad_input_test import QUIET, TEXT, refused, run, tiny
from conftest import BIN

pytestmark = pytest.mark.recipe


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_with_other_things_is_never_replaced(tmp_path):
    model = tiny(tmp_path / "model")
    own = tmp_path / "own"
    assert run("attar", "export", model, "-o", own, "--format", "hf", QUIET).returncode == 0
    for name, inside in {"foreign": {"config.json": b"{}", "thesis.tex": b"x"}, "no_card": {"config.json": b"{}"}}.items():
        (tmp_path / name).mkdir()
        for file, content in inside.items():
            (tmp_path / name / file).write_bytes(content)
    mixed = shutil.copytree(own, tmp_path / "mixed")
    (mixed / "notes").mkdir()
    for folder in ("foreign", "no_card", "mixed"):
        before = sorted(path.name for path in (tmp_path / folder).iterdir())
        for verb in (["export", model, "--format", "hf"], ["prune", model, "--drop-ffn", 0.5, "--data", TEXT], ["distill", model, "--student", model, "--data", TEXT]):
            refused(run("attar", *verb, "-o", tmp_path / folder, QUIET), 2, "other things")
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == before


def test_what_is_there_is_written_again_when_told(tmp_path):
    model = tiny(tmp_path / "model")
    text = tmp_path / "text.txt"
    text.write_text(TEXT.read_text(encoding="utf-8")[:4000], encoding="utf-8")
    for verb in (
        ["export", model, "--format", "hf"],
        ["prune", model, "--drop-ffn", 0.5, "--data", text],
        ["distill", model, "--student", model, "--data", text, "--tokens", 200],
    ):
        for out in (f"{tmp_path}/out", f"{tmp_path}/out/"):
            if os.path.exists(out):
                before = contents(tmp_path / "out")
                refused(run("attar", *verb, "-o", out, QUIET), 2, "out: exists already; add --force")
                assert contents(tmp_path / "out") == before
            done = run("attar", *verb, "-o", out, "--force", QUIET)
            assert done.returncode == 0, done.stderr
    gguf = ["export", model, "-o", tmp_path / "out" / "deep.gguf", QUIET]
    assert run("attar", *gguf).returncode == 0
    refused(run("attar", *gguf), 2, "deep.gguf: exists already; add --force")
    assert run("attar", *gguf, "--force").returncode == 0
    (tmp_path / "out" / "deep.gguf").unlink()
    split = [*gguf, "--split-size", "200KB"]
    assert run("attar", *split).returncode == 0
    refused(run("attar", *split), 2, "deep.gguf: exists already")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out", "text.txt"]


def test_an_input_is_never_replaced(tmp_path):
    model = tiny(tmp_path / "model")
    own = tmp_path / "own"
    assert run("attar", "export", model, "-o", own, "--format", "hf", QUIET).returncode == 0
    gguf = tmp_path / "own.gguf"
    assert run("attar", "export", own, "-o", gguf, QUIET).returncode == 0
    (tmp_path / "link").symlink_to(own)
    before = contents(own), gguf.read_bytes()
    for out in (own, f"{own}/", tmp_path / "link", tmp_path / "model" / ".." / "own"):
        refused(run("attar", "prune", own, "-o", out, "--keep-vocab", 600, "--data", TEXT, QUIET), 2, "read from")
        refused(run("attar", "export", own, "-o", out, "--format", "hf", QUIET), 2, "read from")
        refused(run("attar", "distill", model, "--student", own, "-o", out, "--data", TEXT, QUIET), 2, "read from")
    refused(run("attar", "quantize", gguf, "-o", gguf, "--to", "Q8_0", QUIET), 2, "read from")
    (tmp_path / "out.steps").mkdir()
    (tmp_path / "out.steps" / "mine").write_text("x")
    refused(run("attar", "distill", model, "--student", own, "-o", tmp_path / "out", "--data", TEXT, QUIET), 2, "out.steps")
    assert (tmp_path / "out.steps" / "mine").exists()
    assert (contents(own), gguf.read_bytes()) == before


def failing(n, *arguments):
    """`attar ...` on a disk whose n-th write fails. -> what it did"""
    preload = BIN.parent / "lib" / "libfailing_writes.so"
    assert preload.exists()
    return subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True, env={**os.environ, "LD_PRELOAD": str(preload), "FAIL_NTH_WRITE": str(n)})


@pytest.mark.parametrize("out, command, least", [("out.gguf", ["--to", "Q4_0"], 5), ("out", ["--format", "hf", "--dtype", "bfloat16"], 20)])
def test_a_full_disk_is_said_and_takes_nothing(tmp_path, out, command, least):
    model, out = tiny(tmp_path / "model"), tmp_path / out
    first = ["--format", "hf"] if out.suffix == "" else []

    def held():
        return contents(out) if out.is_dir() else out.read_bytes()

    before = None
    for n in range(1, 200):
        if before is None:
            assert run("attar", "export", model, "-o", out, *first, "--force", QUIET).returncode == 0
            before = held()
        done = failing(n, "export", model, "-o", out, *command, "--force", QUIET)
        if done.returncode == 0:
            break
        refused(done, 5, "No space left on device", str(tmp_path))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model", out.name]
        if f"{out}: was written" in done.stderr:  # the last: it is there, but its name is not synced
            assert held() != before
            before = None
        else:
            assert held() == before
    assert n > least and held() != before


def test_what_is_shipped_knows_no_fault_injection(tmp_path):
    model = tiny(tmp_path / "model")
    environment = {**os.environ, "ATTAR_FAIL_WRITE": "1", "FAIL_NTH_WRITE": "1"}
    done = subprocess.run([BIN / "attar", "export", model, "-o", tmp_path / "out.gguf", QUIET], env=environment, capture_output=True)
    assert done.returncode == 0
    for shipped in (BIN / "attar", BIN / "attar-run", BIN.parent / "lib/libattar_runtime.so"):
        assert b"FAIL_WRITE" not in shipped.read_bytes() and b"FAIL_NTH_WRITE" not in shipped.read_bytes()
