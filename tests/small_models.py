"""Small models, and what a runtime says of them: for tests that compare one built for another processor with this machine's own."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "oracle"))
import tiny_eval_model
from conftest import program

PROMPT = "Once upon a time"
TEXT = "Once upon a time there was a little girl who lived near the sea."
# This machine's AVX2 and AVX-512 give the bits that others are to give; its scalar kernels round otherwise.
HAS_AVX2 = "avx2" in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")


def run(command, threads=2, **environment):
    command = [*command, "--threads", str(threads), "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answers(runtime, model, text, threads=2, **environment):
    """The likeliest 16 tokens after a text, and what each way of computing thinks of every token of the text in a file. `runtime`: a command."""
    written = run([*runtime, "generate", model, PROMPT, "--temperature", "0", "-n", "16"], threads, **environment)
    scored = [run([*runtime, "score", model, "--data", text, "--numerics", numerics], threads, **environment)["documents"] for numerics in ["fp32", "deployed"]]
    return {"tokens": written["tokens"], "fp32": scored[0], "deployed": scored[1]}


def formula_model(folder):
    """A model whose rows are wide enough for every tensor type."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"C": 256, "H": 4, "D": 64, "F": 512, "CONTEXT": 512}.items():
            patch.setattr(tiny_eval_model, name, value)
        tiny_eval_model.write(folder, bos=True, eos=False)
    return folder


def quantized(original, tensor_type, path):
    subprocess.run([program("attar"), "quantize", original, "-o", path, "--to", tensor_type, "--quiet"], check=True, capture_output=True)
    return path
