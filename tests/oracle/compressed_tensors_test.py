"""Integer codes as Hugging Face's loaders read them: what transformers computes from the directory is what it computes from the codes' values."""

import json
import subprocess

import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers
from causal_lm_test import CASES, TINY
from conftest import program
from gguf_oracle import tiny_tokenizer

pytestmark = pytest.mark.parity

WIDE = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}


def run(*arguments):
    return subprocess.run([program("attar"), *map(str, arguments), "--quiet"], capture_output=True, text=True)


def model_of(tmp_path, name):
    """A random model whose rows divide by 32, as transformers saves it."""
    config_class, changes = CASES[name]
    torch.manual_seed(5)
    config = config_class(**{**TINY, **changes, **WIDE})
    folder = tmp_path / name
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer(folder, config.vocab_size)
    return folder, torch.randint(0, config.vocab_size, (1, 24))


def logits(folder, tokens):
    with torch.no_grad():
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(tokens).logits[0].numpy()


@pytest.mark.parametrize("name", ["llama_wide", "qwen3_tied", "gemma3_short_window"])
@pytest.mark.parametrize(("kind", "bits"), [("Q4_0", 4), ("Q8_0", 8), ("IQ4_NL", 8)])
def test_transformers_computes_the_same_from_the_codes(tmp_path, name, kind, bits):
    folder, tokens = model_of(tmp_path, name)
    gguf = tmp_path / "codes.gguf"
    assert run("quantize", folder, "-o", gguf, "--to", kind).returncode == 0
    for out, options in (("packed", ["compressed-tensors"]), ("plain", ["hf", "--dequantized"])):
        done = run("export", gguf, "-o", tmp_path / out, "--format", *options)
        assert done.returncode == 0, done.stderr
    groups = json.loads((tmp_path / "packed/config.json").read_text())["quantization_config"]["config_groups"]
    assert [group["weights"]["num_bits"] for group in groups.values()] == [bits]
    stored = safetensors.numpy.load_file(tmp_path / "packed/model.safetensors")
    assert stored["model.layers.0.mlp.up_proj.weight_packed"].shape == (96, 64 * bits // 32)
    packed, plain = logits(tmp_path / "packed", tokens), logits(tmp_path / "plain", tokens)
    np.testing.assert_allclose(packed, plain, rtol=0, atol=1e-5 * np.abs(plain).max())


def test_what_has_minimums_is_refused(tmp_path):
    folder, _ = model_of(tmp_path, "llama_wide")
    done = run("export", folder, "-o", tmp_path / "out", "--format", "compressed-tensors", "--to", "Q4_1")
    assert done.returncode == 2 and "whole numbers times a scale" in done.stderr
    assert not (tmp_path / "out").exists()
    done = run("export", folder, "-o", tmp_path / "out", "--format", "compressed-tensors")
    assert done.returncode == 2 and "finds no codes" in done.stderr
