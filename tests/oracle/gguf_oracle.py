"""Builds transformers models from GGUF files with the `gguf` package and a mapping of its own, never Attar's."""

import json

import numpy as np
import torch
import transformers
from gguf import GGUFReader
from gguf.quants import dequantize

LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
NORMS = {
    "llama": {"ffn_norm": "post_attention_layernorm"},
    "qwen2": {"ffn_norm": "post_attention_layernorm"},
    "qwen3": {"ffn_norm": "post_attention_layernorm"},
    "gemma3": {"ffn_norm": "pre_feedforward_layernorm", "post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"},
}
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
CONFIGS = {"llama": transformers.LlamaConfig, "qwen2": transformers.Qwen2Config, "qwen3": transformers.Qwen3Config, "gemma3": transformers.Gemma3TextConfig}


def hf_name(name, arch):
    stem, kind = name.rsplit(".", 1)
    if stem in TOP:
        return f"{TOP[stem]}.{kind}"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{ {**LAYER, **NORMS[arch]}[part] }.{kind}"


def unpermuted(weight, heads):
    """Rows of pairs (2j, 2j+1) back to halves (j, j + D/2)."""
    rows = weight.shape[0] // heads
    return weight.reshape(heads, rows // 2, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def transformers_model_from_gguf(path):
    reader = GGUFReader(path)

    def value(key, default=None):
        return reader.fields[key].contents() if key in reader.fields else default

    arch = value("general.architecture")

    def own(key, default=None):
        return value(f"{arch}.{key}", default)

    heads, width = own("attention.head_count"), own("embedding_length")
    tensors = {t.name: t for t in reader.tensors}
    keys = {
        "vocab_size": int(tensors["token_embd.weight"].shape[1]),
        "hidden_size": width,
        "intermediate_size": own("feed_forward_length"),
        "num_hidden_layers": own("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": own("attention.head_count_kv", heads),
        "head_dim": own("attention.key_length", width // heads),
        "max_position_embeddings": own("context_length"),
        "rms_norm_eps": own("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in tensors,
    }
    theta = own("rope.freq_base", 10000.0)
    if arch == "gemma3":
        keys["sliding_window"] = own("attention.sliding_window")
        keys["query_pre_attn_scalar"] = keys["head_dim"]
        keys["rope_parameters"] = {"full_attention": {"rope_type": "default", "rope_theta": theta}, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
    else:
        keys["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[arch](**keys)).eval()
    state = {}
    for name, tensor in tensors.items():
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if arch == "llama" and ".attn_q." in name:
            weight = unpermuted(weight, heads)
        if arch == "llama" and ".attn_k." in name:
            weight = unpermuted(weight, keys["num_key_value_heads"])
        if arch == "gemma3" and name.endswith("norm.weight"):
            weight = weight - 1
        state[hf_name(name, arch)] = torch.from_numpy(np.array(weight))
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    model.tie_weights()
    return model


def tiny_tokenizer(folder, size, merges=()):
    """A byte-level tokenizer.json of `size` tokens beside a random model."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = (alphabet + [a + b for a, b in merges] + [f"<extra{i}>" for i in range(size)])[:size]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
