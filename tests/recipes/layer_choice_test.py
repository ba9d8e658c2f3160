"""Which layers of a teacher a student keeps: evenly spaced ones or listed ones, by recipe, verb and Python, and what is refused."""

import json
import sys

import numpy as np
import pytest
from bad_input_test import tiny
from on_policy_test import BIN, TEXT, attar, digest
from safetensors.numpy import load_file

pytestmark = pytest.mark.recipe

SPACED, LISTED = ["--drop-layers", 2, "--layer-choice", "uniform"], ["--keep-layers", 0, 2, 3]
NOTES = {
    "uniform": "kept layers 0 and 3 of 4: evenly spaced, from the first to the last",
    "listed": "kept layers 0, 2 and 3 of 4: those that were listed",
    "influence": "of 4: the others changed the hidden state least",
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Four layers."""
    return tiny(tmp_path_factory.mktemp("teacher") / "model")


def prune(teacher, out, *more):
    done = attar("prune", teacher, "-o", out, *more, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def layers_of(folder, teacher):
    """For each layer of the model which of the teacher's it is."""
    own, whole = (load_file(path / "model.safetensors") for path in (folder, teacher))
    name = "model.layers.{}.mlp.up_proj.weight"
    count = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    return [next(i for i in range(4) if np.array_equal(own[name.format(layer)], whole[name.format(i)])) for layer in range(count)]


def test_the_verb_keeps_them_without_text(teacher, tmp_path):
    told = prune(teacher, tmp_path / "spaced", *SPACED)
    assert (told["kept_layers"], told["removed_layers"], told["notes"]) == ([0, 3], [1, 2], [NOTES["uniform"]])
    assert layers_of(tmp_path / "spaced", teacher) == [0, 3]
    for name, given in {"apart": LISTED, "commas": ["--keep-layers", "0,2,3"], "both": [*LISTED, "--drop-layers", 1]}.items():
        told = prune(teacher, tmp_path / name, *given)
        assert (told["kept_layers"], told["notes"]) == ([0, 2, 3], [NOTES["listed"]]), name
        assert layers_of(tmp_path / name, teacher) == [0, 2, 3], name
        assert digest(tmp_path / name / "model.safetensors") == digest(tmp_path / "apart/model.safetensors"), name
    assert NOTES["listed"] in attar("prune", teacher, "-o", tmp_path / "shown", *LISTED).stdout


def test_influence_says_which_stayed_too(teacher, tmp_path):
    told = prune(teacher, tmp_path / "out", "--drop-layers", 1, "--data", TEXT / "tiny_train.txt", "--calibration-tokens", 500)
    assert len(told["kept_layers"]) == 3 and sorted(told["kept_layers"] + told["removed_layers"]) == [0, 1, 2, 3]
    assert told["notes"][0].endswith(NOTES["influence"])


def test_python_keeps_them(teacher, tmp_path):
    sys.path.insert(0, str(BIN.parent / "python"))
    import attar as package

    listed = package.prune(teacher, tmp_path / "listed", keep_layers=(0, 2, 3))
    assert listed["kept_layers"] == [0, 2, 3] and layers_of(tmp_path / "listed", teacher) == [0, 2, 3]
    spaced = package.prune(teacher, tmp_path / "spaced", drop_layers=2, layer_choice="uniform")
    assert spaced["notes"] == [NOTES["uniform"]]
    for wrong, said in ((0, "a list of whole numbers or None"), ([0.5], "a list of whole numbers or None"), ([], "at least one number")):
        with pytest.raises(package.Error, match=said, check=lambda error: error.kind == "usage"):
            package.prune(teacher, tmp_path / "wrong", keep_layers=wrong)


RECIPE = """teacher: {teacher}
data: {{train: [{text}]}}
stages:
  - prune: {prune}
  - distill: {{tokens: 400, batch_tokens: 128, sequence_tokens: 64}}
  - export: {{formats: [gguf, hf]}}
"""


def recipe(teacher, folder, prune):
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(teacher=teacher, text=TEXT / "tiny_train.txt", prune=prune), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("options", "kept", "resolved"),
    [
        ("{drop_layers: 2, layer_choice: uniform}", [0, 3], ["drop_layers: 2", "layer_choice: uniform"]),
        ("{keep_layers: [0, 2, 3]}", [0, 2, 3], ["drop_layers: 0", "layer_choice: influence", "keep_layers: [0, 2, 3]"]),
    ],
    ids=["uniform", "listed"],
)
def test_a_recipe_keeps_them_and_its_report_says_so(teacher, tmp_path, options, kept, resolved):
    path = recipe(teacher, tmp_path, options)
    planned = attar("run", path, "--out", tmp_path / "run", "--dry-run", "--json", "--quiet")
    assert planned.returncode == 0, planned.stderr
    (plan,) = (stage for stage in json.loads(planned.stdout)["stages"] if stage["stage"] == "prune")
    assert plan["tokens"] == 0
    done = attar("run", path, "--out", tmp_path / "run", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    (stage,) = (stage for stage in json.loads(done.stdout)["results"]["stages"] if stage["kind"] == "prune")
    note = NOTES["uniform" if "uniform" in options else "listed"]
    assert stage["results"]["kept_layers"] == kept and stage["notes"] == [note]
    assert note in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert layers_of(tmp_path / "run/checkpoints/1-prune/final", teacher) == kept
    shown = (tmp_path / "run/resolved.yaml").read_text(encoding="utf-8")
    assert all(line in shown for line in resolved), shown
    assert ("keep_layers" in shown) == ("keep_layers" in options)
    again = attar("run", tmp_path / "run/resolved.yaml", "--out", tmp_path / "again", "--threads", 1, "--json", "--quiet")
    assert again.returncode == 0, again.stderr
    for name in ("checkpoints/1-prune/final/model.safetensors", "checkpoints/2-distill/final/model.safetensors"):
        assert digest(tmp_path / "run" / name) == digest(tmp_path / "again" / name)


def test_a_recipe_needs_no_text_for_them(teacher, tmp_path):
    (tmp_path / "recipe.yaml").write_text(f"teacher: {teacher}\nstages: [{{prune: {{keep_layers: [0, 3]}}}}, export]\n", encoding="utf-8")
    done = attar("run", tmp_path / "recipe.yaml", "--out", tmp_path / "run", "--quiet")
    assert done.returncode == 0, done.stderr
    (tmp_path / "recipe.yaml").write_text(f"teacher: {teacher}\nstages: [{{prune: {{drop_layers: 1}}}}, export]\n", encoding="utf-8")
    refused = attar("recipes", "check", tmp_path / "recipe.yaml")
    assert refused.returncode == 2 and "prune: needs data.calibration" in refused.stdout


@pytest.mark.parametrize(
    ("prune", "said"),
    [
        ("{keep_layers: [0, 4]}", "prune.keep_layers: the model has 4 layers (expected 0 to 3, got 4)"),
        ("{keep_layers: [-1, 2]}", "prune.keep_layers: expected a whole number of at least 0"),
        ("{keep_layers: [0, 2, 2]}", "prune.keep_layers: expected ascending numbers of layers, each once"),
        ("{keep_layers: [3, 0]}", "prune.keep_layers: expected ascending numbers of layers, each once"),
        ("{keep_layers: []}", "prune.keep_layers: expected at least one number"),
        ("{keep_layers: 2}", "prune.keep_layers: expected a list, got 2"),
        ("{keep_layers: [first]}", "prune.keep_layers: expected a whole number, got first"),
        ("{keep_layers: [0, 3], drop_layers: 1}", "prune.drop_layers: keep_layers names 2 of 4 layers (expected 2, or no drop_layers beside it, got 1)"),
        ("{keep_layers: [0, 3], layer_choice: uniform}", "prune.layer_choice = uniform: expected influence beside keep_layers"),
        ("{layer_choice: uniform, drop_ffn: 0.5}", "prune.layer_choice = uniform: expected influence, or drop_layers above 0 beside it"),
        ("{layer_choice: even, drop_layers: 1}", "prune.layer_choice = even: expected influence or uniform"),
        ("{layer_choice: uniform, drop_layers: 3}", "the model has 4 layers, and the first and the last stay (expected at most 2, got 3)"),
        ("{layer_choice: influence}", "something to prune: drop_layers, drop_ffn, drop_heads or keep_vocab above 0, or keep_layers"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(teacher, tmp_path, prune, said):
    refused = attar("recipes", "check", recipe(teacher, tmp_path, prune))
    assert refused.returncode == 2 and said in refused.stdout, refused.stdout
    assert "recipe.yaml:4:" in refused.stdout


def test_the_verb_refuses_them_too(teacher, tmp_path):
    for given, said in (
        (["--keep-layers", "0,9"], "prune.keep_layers: the model has 4 layers"),
        (["--keep-layers", 2, 2], "keep_layers has an impossible value (expected ascending numbers of layers, each once)"),
        (["--keep-layers", "two"], "--keep-layers: expected a whole number, got two"),
        (["--keep-layers", 0, 3, "--drop-layers", 3], "keep_layers names 2 of 4 layers"),
        (["--layer-choice", "uniform"], "layer_choice has an impossible value"),
        (["--drop-layers", 1], "needs text to measure the model on"),
    ):
        refused = attar("prune", teacher, "-o", tmp_path / "out", *given)
        assert refused.returncode == 2 and said in refused.stderr, refused.stderr
        assert not (tmp_path / "out").exists()
