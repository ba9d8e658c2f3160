"""A file of every block type that Attar writes, in its own runtime and in llama.cpp: both load it, and their last logits agree as far as
activations that llama.cpp rounds to eight bits let them (0.008 to 0.020 of their norm were seen; Q1_0 is 0.86 from the unquantized model)."""

import subprocess

import llama_cpp
import numpy as np
import pytest
from causal_lm_test import runtime_logits
from conftest import know_q2_0, program
from encode_error_test import TYPES
from gguf import GGUFReader
from preset_test import model  # noqa: F401

pytestmark = pytest.mark.parity
know_q2_0()

TOKENS = [int(token) for token in np.random.default_rng(2).integers(3, 300, 24)]
FIRST = 64  # logits that are compared


@pytest.mark.parametrize("model", ["whole"], indirect=True)
@pytest.mark.parametrize("name", TYPES)
def test_a_file_of_a_type_runs_everywhere(model, tmp_path, name):  # noqa: F811
    _, folder = model
    path = tmp_path / "model.gguf"
    subprocess.run([program("attar"), "quantize", folder, "-o", path, "--to", name, "--no-importance", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    types = {tensor.tensor_type.name for tensor in GGUFReader(path).tensors}
    assert types == {name, "F32"}
    ours = runtime_logits(str(path), TOKENS)[-1][:FIRST]
    theirs = llama_cpp.answer(f"type {name}", lambda: llama_cpp.library().logits(path, TOKENS)[-1][:FIRST], tolerance=2e-2)  # AVX2's are 1.6 % from AVX-512's
    assert np.linalg.norm(ours - theirs) < 0.03 * np.linalg.norm(theirs)
