"""The runtime for arm64, which `make check-arm64` cross-compiles, under qemu as processors with each of its tables of kernels: the text and
the log-probabilities of this machine's own runtime. Skipped where that has not been run; else the programs are built anew first."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "oracle"))
import tiny_eval_model
from conftest import ROOT, program, shared

ARM64 = ROOT / "build-aarch64"
# no dot product; dot product; int8 matrix products too
CPUS = ["cortex-a57", "neoverse-n1", "max"]
TEXT = "Once upon a time there was a little girl who lived near the sea."


@pytest.fixture(scope="session")
def arm64():
    for tool in ["aarch64-linux-gnu-g++", "qemu-aarch64"]:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing; 'make check-arm64' installs it")
    if not (ARM64 / "build.ninja").exists():
        pytest.skip("build-aarch64 is not there; 'make check-arm64' builds it")
    jobs = subprocess.run([ROOT / "cmake" / "jobs.sh"], capture_output=True, text=True, check=True).stdout.strip()
    built = subprocess.run(["ninja", "-C", ARM64, "-j", jobs, "attar-run"], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout
    return str(ARM64 / "emulated" / "attar-run")


def run(command, cpu=None):
    environment = {**os.environ, "QEMU_CPU": cpu} if cpu else None
    done = subprocess.run([*command, "--threads", "2", "--json", "--quiet"], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def answers(runtime, model, text, cpu=None):
    """The likeliest 16 tokens after a text, and what each way of computing thinks of every token of the text."""
    written = run([runtime, "generate", model, "Once upon a time", "--temperature", "0", "-n", "16"], cpu)
    scored = [run([runtime, "score", model, "--data", text, "--numerics", numerics], cpu)["documents"] for numerics in ["fp32", "deployed"]]
    return {"tokens": written["tokens"], "fp32": scored[0], "deployed": scored[1]}


@pytest.fixture(scope="session")
def formula(tmp_path_factory):
    """A model whose rows are wide enough for every tensor type."""
    folder = tmp_path_factory.mktemp("arm64") / "formula"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"C": 256, "H": 4, "D": 64, "F": 512, "CONTEXT": 512}.items():
            patch.setattr(tiny_eval_model, name, value)
        tiny_eval_model.write(folder, bos=True, eos=False)
    return folder


@pytest.fixture(scope="session", params=["stories F32", "stories Q4_0", "formula Q4_K", "formula IQ3_S"])
def model(request, tmp_path_factory):
    source, tensor_type = request.param.split()
    original = shared("models/stories260K.f32.gguf") if source == "stories" else request.getfixturevalue("formula")
    path = tmp_path_factory.mktemp("arm64") / "model.gguf"
    subprocess.run([program("attar"), "quantize", original, "-o", path, "--to", tensor_type, "--quiet"], check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def expected(model, tmp_path_factory):
    text = tmp_path_factory.mktemp("arm64") / "text.txt"
    text.write_text(TEXT + "\n", encoding="utf-8")
    return text, answers(program("attar-run"), model, text)


@pytest.mark.parametrize("cpu", CPUS)
def test_numbers_are_those_of_this_machine(arm64, model, expected, cpu):
    """To the bit: the order of sums is the same, and so are the C library's cosines. The scalar kernels, where this machine has no AVX2,
    round otherwise."""
    text, here = expected
    there = answers(arm64, model, text, cpu)
    assert there["tokens"] == here["tokens"]
    if "avx2" in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        assert there == here
