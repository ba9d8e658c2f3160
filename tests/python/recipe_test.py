"""Recipes as dicts: the same keys, checks and runs as files."""

import numpy as np
import pytest
from package_test import ROOT, attar, usage

RECIPE = {
    "name": "from-a-dict",
    "seed": 3,
    "teacher": {
        "config": {"family": "llama", "layers": 2, "width": 64, "heads": 2, "kv_heads": 2, "head_dim": 32, "ffn": 128, "context": 256},
        "tokenizer": ROOT / "recipes/text/tiny_tokenizer",
        "pretrain": {"tokens": 600, "batch_tokens": 256},
    },
    "data": {"train": [ROOT / "recipes/text/tiny_train.txt"], "evaluation": [ROOT / "recipes/text/held_out.txt"]},
    "stages": [{"quantize": {"to": "Q8_0", "importance": False}}, "export", {"verify": {"bench": False, "samples": 0, "context": 64, "max_tokens": 300, "gates": {"kl": 1.0}}}],
}


def recipe(**changes):
    return {**RECIPE, **changes}


def test_a_dict_is_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = attar.plan(RECIPE, "stages.quantize.to=Q4_0")
    assert plan.name == "from-a-dict" and plan.folder == "runs/from-a-dict" and len(plan.stages) == 5
    done = attar.run(RECIPE)
    assert done.folder == "runs/from-a-dict" and done.gates_passed and done.report.verify.kl < 1 and done.verify.passed
    assert attar.run(RECIPE, resume=True).report.results == done.report.results
    assert attar.run("runs/from-a-dict", resume=True).report.results == done.report.results
    with usage("runs/from-a-dict", "resume=True"):
        attar.run(RECIPE)
    with usage("runs/from-a-dict", "is a folder", "resume=True"):
        attar.run("runs/from-a-dict")


def test_a_dict_names_an_endpoint(tmp_path):
    (tmp_path / "prompts.txt").write_text("Once upon a time\n<|endoftext|>\nOne day")
    source = {"url": "http://127.0.0.1:9/v1", "model": "box", "prompts": tmp_path / "prompts.txt", "tokens": 700, "max_tokens": 100}
    data, *_ = (
        stage
        for stage in attar.plan(recipe(data={"train": [{"endpoint_writes": source}, *RECIPE["data"]["train"]], "evaluation": RECIPE["data"]["evaluation"]})).stages
        if stage["stage"] == "data"
    )
    assert "700 by box at http://127.0.0.1:9/v1 in at least 7 requests" in data["what"]
    with usage("endpoint_writes", "key: expected the name of an environment variable"):
        attar.plan(recipe(data={"train": [{"endpoint_writes": source | {"key": "sk-secret"}}]}))


def test_what_is_wrong_with_a_dict_has_no_line_numbers():
    with usage("(?m)^recipe: (stages.)?quantize.to = Q99: expected") as caught:
        attar.plan(recipe(stages=[{"quantize": {"to": "Q99"}}], seed="x"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 2 and all(line.startswith("recipe: ") for line in lines), lines
    with usage("recipe", "did you mean `teacher`"):
        attar.plan({"techer": "x", "stages": []})
    with usage("recipe", "holds what a recipe cannot", "object"):
        attar.plan(recipe(seed=object()))


def test_numbers_of_numpy_are_numbers():
    """As a sweep makes them."""
    same = recipe(seed=np.int64(3), stages=[{"quantize": {"to": "Q8_0", "importance": np.False_}}, *RECIPE["stages"][1:]])
    assert [stage.what for stage in attar.plan(same).stages] == [stage.what for stage in attar.plan(RECIPE).stages]
    with usage("learning_rate", "expected"):
        attar.plan(recipe(teacher={**RECIPE["teacher"], "pretrain": {"tokens": 600, "learning_rate": np.logspace(-4, -3, 2)}}))


def test_paths_of_a_dict_start_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_bytes((ROOT / "recipes/text/tiny_train.txt").read_bytes())
    data = {"train": ["own.txt"], "evaluation": [ROOT / "recipes/text/held_out.txt"]}
    assert attar.plan(recipe(data=data)).stages
    with pytest.raises(attar.Error, match=r"missing\.txt", check=lambda error: error.kind == "input"):
        attar.plan(recipe(data={**data, "train": ["missing.txt"]}))
