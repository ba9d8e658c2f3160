"""The runtime for arm64, which `make check-arm64` cross-compiles, under qemu as processors with each of its tables of kernels: the text and
the log-probabilities of this machine's own runtime. Skipped where that has not been run; else the programs are built anew first."""

import pathlib
import shutil
import subprocess
import sys

import pytest
import small_models

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "oracle"))
from conftest import ROOT, program, shared

ARM64 = ROOT / "build-aarch64"
# no dot product; dot product; int8 matrix products too
CPUS = ["cortex-a57", "neoverse-n1", "max"]


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
    return [str(ARM64 / "emulated" / "attar-run")]


@pytest.fixture(scope="session")
def formula(tmp_path_factory):
    return small_models.formula_model(tmp_path_factory.mktemp("arm64") / "formula")


@pytest.fixture(scope="session", params=["stories F32", "stories Q4_0", "formula Q4_K", "formula IQ3_S"])
def model(request, tmp_path_factory):
    source, tensor_type = request.param.split()
    original = shared("models/stories260K.f32.gguf") if source == "stories" else request.getfixturevalue("formula")
    return small_models.quantized(original, tensor_type, tmp_path_factory.mktemp("arm64") / "model.gguf")


@pytest.fixture(scope="session")
def expected(model, tmp_path_factory):
    text = tmp_path_factory.mktemp("arm64") / "text.txt"
    text.write_text(small_models.TEXT + "\n", encoding="utf-8")
    return text, small_models.answers([program("attar-run")], model, text)


@pytest.mark.parametrize("cpu", CPUS)
def test_numbers_are_those_of_this_machine(arm64, model, expected, cpu):
    """To the bit: the order of sums is the same, and so are the C library's cosines."""
    text, here = expected
    there = small_models.answers(arm64, model, text, QEMU_CPU=cpu)
    assert there["tokens"] == here["tokens"]
    if small_models.HAS_AVX2:
        assert there == here
