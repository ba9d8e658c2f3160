"""A llama of bytes with a context of 48 tokens, whose weights are a formula: the same for whoever writes it."""

import json

import numpy as np
import safetensors.numpy
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

CONTEXT = 48
SPECIAL = ["<s>", "</s>"]
V, C, L, H, D, F = 258, 16, 2, 2, 8, 24


def weights():
    shapes = {"model.embed_tokens.weight": (V, C), "lm_head.weight": (V, C)}
    for layer in range(L):
        block = f"model.layers.{layer}."
        shapes.update({block + f"self_attn.{part}_proj.weight": (C, C) for part in "qkvo"})
        shapes.update({block + f"mlp.{part}_proj.weight": (F, C) for part in ("gate", "up")})
        shapes[block + "mlp.down_proj.weight"] = (C, F)
    tensors = {}
    for number, (name, shape) in enumerate(shapes.items()):
        index = np.arange(np.prod(shape), dtype=np.float64)
        tensors[name] = np.sin(index * (1.7 + 0.01 * number) + index**2 % 101).astype(np.float32).reshape(shape) * (2.0 if "lm_head" in name else 0.6)
    norms = ["model.norm.weight"] + [f"model.layers.{i}.{name}.weight" for i in range(L) for name in ("input_layernorm", "post_attention_layernorm")]
    return {**tensors, **{name: np.ones(C, np.float32) for name in norms}}


def tokenizer(bos, eos):
    tokens = SPECIAL + sorted(pre_tokenizers.ByteLevel.alphabet())
    out = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    out.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    out.decoder = decoders.ByteLevel()
    out.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    if bos or eos:
        single = ("<s> " if bos else "") + "$A" + (" </s>" if eos else "")
        out.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 0), ("</s>", 1)])
    return out


def write(folder, bos, eos):
    """A Hugging Face directory."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": V,
        "hidden_size": C,
        "num_hidden_layers": L,
        "num_attention_heads": H,
        "num_key_value_heads": H,
        "head_dim": D,
        "intermediate_size": F,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "dtype": "float32",
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}))
    tokenizer(bos, eos).save(str(folder / "tokenizer.json"))
    safetensors.numpy.save_file(weights(), folder / "model.safetensors", metadata={"format": "pt"})


def short_enough(lines):
    """The items whose answers fit the context: the harness asserts that they do."""

    def answers(item):
        return item["choices"] if "choices" in item else [item["continuation"]]

    return [line for line in lines if max(len(answer.encode()) for answer in answers(json.loads(line))) < CONTEXT - 4]
