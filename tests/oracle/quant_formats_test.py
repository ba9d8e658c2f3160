"""Every tensor type against the PyPI `gguf` package, bit for bit, on random and adversarial blocks."""

import subprocess

import numpy as np
import pytest
from conftest import program
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

pytestmark = pytest.mark.parity

DECODED = [
    "F16",
    "BF16",
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q2_K",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ2_S",
    "IQ3_XXS",
    "IQ3_S",
    "IQ1_S",
    "IQ1_M",
    "IQ4_NL",
    "IQ4_XS",
    "TQ1_0",
    "TQ2_0",
    "MXFP4",
    "NVFP4",
]
ENCODED = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"]


def run(tmp_path, action, name, data):
    (tmp_path / "in").write_bytes(data)
    subprocess.run([program("quant_dump"), action, name, tmp_path / "in", tmp_path / "out"], check=True)
    return (tmp_path / "out").read_bytes()


def blocks(name, count=512):
    """Random bytes, then blocks of all zeros, all ones, and alternating bits: zero, huge, subnormal and NaN scales."""
    size = GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]
    rng = np.random.default_rng(len(name) + size)
    data = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for row, value in enumerate((0x00, 0xFF, 0x55, 0xAA, 0x80, 0x7F, 0x01, 0x7B)):
        data[row] = value
    return data


@pytest.mark.parametrize("name", DECODED)
def test_decodes_as_gguf(tmp_path, name):
    data = blocks(name)
    with np.errstate(all="ignore"):
        expected = dequantize(data, GGMLQuantizationType[name]).astype(np.float32).reshape(-1)
    got = np.frombuffer(run(tmp_path, "decode", name, data.tobytes()), np.float32)
    both_nan = np.isnan(expected) & np.isnan(got)
    assert np.array_equal(expected.view(np.uint32)[~both_nan], got.view(np.uint32)[~both_nan])


@pytest.mark.parametrize("name", ENCODED)
def test_encodes_as_gguf(tmp_path, name):
    rng = np.random.default_rng(7)
    values = rng.standard_normal((64, 256)).astype(np.float32)
    values[0] = 0
    values[1] = np.linspace(-1, 1, 256, dtype=np.float32)
    values[2, :] = 1e-7
    values[3] *= 1e4
    expected = quantize(values, GGMLQuantizationType[name])
    got = run(tmp_path, "encode", name, values.tobytes())
    assert expected.tobytes() == got
