"""Types of every tensor under llama.cpp's presets, as its own `llama_model_quantize` gives them with an importance matrix or without."""

import ctypes
import json
import struct
import subprocess

import causal_lm_test
import llama_cpp
import numpy as np
import pytest
from conftest import know_q2_0, program
from export_test import export, uneven_directory
from gguf import GGUFReader, GGUFWriter, LlamaFileType
from gguf_oracle import tiny_tokenizer

pytestmark = pytest.mark.parity
know_q2_0()

MOSTLY_Q2_0 = 41  # newer than the gguf package

PRESETS = [
    *(f"MOSTLY_{name}" for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q6_K", "IQ4_NL", "IQ4_XS", "Q2_K", "TQ1_0", "TQ2_0", "Q2_0", "Q1_0")),
    *("Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "MXFP4_MOE", "F16", "BF16"),
]
MEASURED = [
    "Q2_K_S",
    "IQ3_M",
    "IQ3_XS",
    "IQ2_M",
    *(f"MOSTLY_{name}" for name in ("IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S")),
]  # of which some are refused without
SHAPES = {
    "whole": {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8, "num_key_value_heads": 2},  # super-blocks divide every row; v has a quarter of the heads
    "odd": {"hidden_size": 96, "intermediate_size": 256, "num_attention_heads": 3, "num_key_value_heads": 3, "tie_word_embeddings": True},
}


@pytest.fixture(scope="module", params=SHAPES)
def model(request, tmp_path_factory):
    from safetensors.numpy import save_file

    folder, shape = tmp_path_factory.mktemp(request.param), SHAPES[request.param]
    width, ffn, heads, kv = (shape[key] for key in ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"))
    head = 32
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 320,
        "num_hidden_layers": 16,
        "head_dim": head,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        **shape,
    }
    (folder / "config.json").write_text(json.dumps(config))
    tiny_tokenizer(folder, 320)
    random = np.random.default_rng(1)
    shapes = {"model.embed_tokens.weight": (320, width), "model.norm.weight": (width,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (320, width)
    for layer in range(16):
        block = f"model.layers.{layer}."
        shapes |= {
            block + "input_layernorm.weight": (width,),
            block + "post_attention_layernorm.weight": (width,),
            block + "self_attn.q_proj.weight": (heads * head, width),
            block + "self_attn.k_proj.weight": (kv * head, width),
            block + "self_attn.v_proj.weight": (kv * head, width),
            block + "self_attn.o_proj.weight": (width, heads * head),
            block + "mlp.gate_proj.weight": (ffn, width),
            block + "mlp.up_proj.weight": (ffn, width),
            block + "mlp.down_proj.weight": (width, ffn),
        }
    save_file({name: random.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}, folder / "model.safetensors")
    subprocess.run([program("attar"), "export", folder, "-o", folder / "f32.gguf", "--to", "F32", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return request.param, folder


def types_of(path):
    """Ids, by tensor name."""
    return [int(tensor.tensor_type) for tensor in sorted(GGUFReader(path).tensors, key=lambda tensor: tensor.name)]


class MatrixEntry(ctypes.Structure):
    """llama_model_imatrix_data of llama.h; a list of them ends with one without a name."""

    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


def matrix_of(path):
    """Ones for every matrix of the model: (name, values)."""
    return {tensor.name: np.ones(int(tensor.shape[0]), np.float32) for tensor in GGUFReader(path).tensors if len(tensor.shape) == 2}


def write_matrix(path, matrix):
    writer = GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    for name, values in matrix.items():
        writer.add_tensor(name + ".in_sum2", values.reshape(1, -1))
        writer.add_tensor(name + ".counts", np.ones((1, 1), np.float32))
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file()
    writer.close()
    return path


def theirs(source, target, file_type, matrix=None):
    lib = llama_cpp.library().lib
    lib.llama_model_quantize_default_params.restype = llama_cpp.Opaque
    lib.llama_model_quantize.restype = ctypes.c_uint32
    params = lib.llama_model_quantize_default_params()
    params.set(0, 1)  # threads
    params.set(1, int(file_type))
    entries = (MatrixEntry * (len(matrix or {}) + 1))()
    for entry, (name, values) in zip(entries, (matrix or {}).items(), strict=False):  # the entry that ends the list is left
        entry.name, entry.data, entry.size = name.encode(), values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), values.size
    if matrix:
        struct.pack_into("<q", params.bytes, 24, ctypes.addressof(entries))  # behind four integers and six booleans
    assert lib.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) == 0
    return types_of(target)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_gives_each_tensor_llama_cpps_type(model, tmp_path, preset):
    shape, folder = model
    if shape == "odd" and preset == "MOSTLY_Q1_0":
        pytest.skip("llama.cpp has no fallback for rows of 96")
    name = preset if preset.startswith("MOSTLY_") else f"MOSTLY_{preset}"
    file_type = MOSTLY_Q2_0 if name == "MOSTLY_Q2_0" else LlamaFileType[name]
    expected = llama_cpp.answer(f"types {shape} {preset}", lambda: theirs(folder / "f32.gguf", tmp_path / "theirs.gguf", file_type))
    subprocess.run([program("attar"), "quantize", folder, "-o", tmp_path / "ours.gguf", "--to", preset, "--no-importance", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    assert types_of(tmp_path / "ours.gguf") == [int(value) for value in expected]
    assert GGUFReader(tmp_path / "ours.gguf").fields["general.file_type"].contents() == file_type


@pytest.mark.parametrize("preset", MEASURED)
def test_so_does_one_that_an_importance_matrix_is_for(model, tmp_path, preset):
    shape, folder = model
    name = preset if preset.startswith("MOSTLY_") else f"MOSTLY_{preset}"
    matrix = matrix_of(folder / "f32.gguf")
    expected = llama_cpp.answer(f"types measured {shape} {preset}", lambda: theirs(folder / "f32.gguf", tmp_path / "theirs.gguf", LlamaFileType[name], matrix))
    given = write_matrix(tmp_path / "matrix.gguf", matrix)
    subprocess.run([program("attar"), "quantize", folder, "-o", tmp_path / "ours.gguf", "--to", preset, "--imatrix", given, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    assert types_of(tmp_path / "ours.gguf") == [int(value) for value in expected]
    assert GGUFReader(tmp_path / "ours.gguf").fields["general.file_type"].contents() == LlamaFileType[name]


@pytest.mark.parametrize("preset", ["MOSTLY_Q2_K", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_M", "IQ3_M", "MOSTLY_IQ3_S"])
def test_a_fused_tensor_follows_the_rules_of_the_values(tmp_path, monkeypatch, preset):
    monkeypatch.setitem(causal_lm_test.TINY, "hidden_size", 64)
    folder, _, _ = uneven_directory(tmp_path, "qwen3_tied")
    export("gguf", folder, tmp_path / "f32.gguf", "F32")
    file_type = LlamaFileType[preset if preset.startswith("MOSTLY_") else f"MOSTLY_{preset}"]
    expected = llama_cpp.answer(f"types fused {preset}", lambda: theirs(tmp_path / "f32.gguf", tmp_path / "theirs.gguf", file_type))
    subprocess.run([program("attar"), "quantize", folder, "-o", tmp_path / "ours.gguf", "--to", preset, "--no-importance", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    assert any("attn_qkv" in tensor.name for tensor in GGUFReader(tmp_path / "ours.gguf").tensors)
    assert types_of(tmp_path / "ours.gguf") == [int(value) for value in expected]
