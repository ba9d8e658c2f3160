"""Near-duplicates of a split's documents: dropped, counted and said, in a recipe, by the verbs and from Python; the same bytes where there are none."""

import gzip
import hashlib
import json
import pathlib
import subprocess
import sys

import h5py
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "build" / "python"))
import attar
from bad_input_test import TEXT, refused, tiny
from conftest import BIN, ROOT

pytestmark = pytest.mark.recipe

SHORT = ["--tokens", 300, "--batch-tokens", 128, "--sequence-tokens", 64]
RECIPE = """name: cleaned
teacher: {config: {layers: 2, width: 32, heads: 2, kv_heads: 1, head_dim: 16, ffn: 64, context: 64}, tokenizer: TOKENIZER, pretrain: {tokens: 1000, batch_tokens: 256}}
data: {train: [train.txt]}
stages:
  - distill: {tokens: 300, batch_tokens: 128}
  - export: {formats: [hf]}
"""


def command(*arguments):
    return [str(BIN / "attar"), *map(str, arguments)]


def attar_run(*arguments, **options):
    return subprocess.run(command(*arguments), capture_output=True, text=True, **options)


def attar_said(*arguments):
    done = attar_run(*arguments, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def results_of(recipe, folder, *more):
    return attar_said("run", recipe, "--out", folder, *more)["results"]["stages"]


def stage(stages, kind):
    return next(stage for stage in stages if stage["kind"] == kind)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A teacher, a student of the same shape, text to learn from."""
    folder = tmp_path_factory.mktemp("near")
    tiny(folder / "teacher")
    tiny(folder / "student")
    (folder / "train.txt").write_text(TEXT.read_text(encoding="utf-8")[:9000], encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "cleaned.yaml").write_text(RECIPE.replace("TOKENIZER", str(ROOT / "recipes/text/tiny_tokenizer")), encoding="utf-8")
    text = TEXT.read_text(encoding="utf-8")
    (folder / "train.txt").write_text(text[:9000] + "\n<|endoftext|>\n" + text[:900] + " the end\n<|endoftext|>\n" + text[9000:12000], encoding="utf-8")
    return folder / "cleaned.yaml"


def test_near_duplicates_are_dropped_and_counted(recipe, tmp_path):
    """The text holds the beginning of its first story again; another threshold, or weights, and what the report says."""
    single = ["data.deduplicate=0.5"]
    before = stage(results_of(recipe, tmp_path / "with"), "data")["results"]["train"]
    said = stage(results_of(recipe, tmp_path / "without", *single), "data")
    after = said["results"]["train"]
    near = after["near_duplicates"]
    assert near["of"] == before["documents"] and near["dropped"] == before["documents"] - after["documents"] >= 1 and near["threshold"] == 0.5
    assert "near_duplicates" not in before
    words = f"{near['dropped']} of {near['of']} documents dropped as near-duplicates"
    assert any(f"data.train: {words}" in note for note in said["notes"])
    assert f"{words}" in (tmp_path / "without/log.txt").read_text(encoding="utf-8")
    page = (tmp_path / "without/report.html").read_text(encoding="utf-8").replace("&nbsp;", " ")
    assert f"{near['dropped']} of {near['of']} as" in page
    twice = stage(results_of(recipe, tmp_path / "twice", *single, "data.train=[{file: train.txt, weight: 2}]"), "data")["results"]["train"]
    assert twice["documents"] == 2 * after["documents"] and twice["near_duplicates"] == near
    (tmp_path / "without/checkpoints/0-data/stage.json").unlink()  # as if it was killed before that was written
    again = attar_said("run", "--resume", tmp_path / "without")["results"]["stages"]
    assert stage(again, "data") == said


def test_a_run_without_duplicates_is_the_same_with_and_without(recipe, tmp_path):
    stories = dict.fromkeys(TEXT.read_text(encoding="utf-8")[:9000].split("\n<|endoftext|>\n"))
    (tmp_path / "once.txt").write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8")
    once = [f"data.train=[{tmp_path}/once.txt]"]
    split = stage(results_of(recipe, tmp_path / "on", *once, "data.deduplicate=1"), "data")["results"]["train"]
    results_of(recipe, tmp_path / "off", *once)
    assert split["near_duplicates"]["dropped"] == 0
    with h5py.File(tmp_path / "on/data/train.h5") as on, h5py.File(tmp_path / "off/data/train.h5") as off:
        assert on.keys() == off.keys() and all((on[name][:] == off[name][:]).all() for name in on)  # made by other options, so of other attributes
    name = "export/hf/model.safetensors"
    assert digest(tmp_path / "on" / name) == digest(tmp_path / "off" / name)


def test_the_verbs_say_what_they_dropped(home, tmp_path):
    text = (home / "train.txt").read_text(encoding="utf-8")
    stories = text.split("\n<|endoftext|>\n")
    with gzip.open(tmp_path / "twice.txt.gz", "wt", encoding="utf-8") as out:
        out.write("\n<|endoftext|>\n".join(stories + [story.upper() for story in stories[:3]]))
    said = attar_said("distill", home / "teacher", "--student", home / "student", "-o", tmp_path / "a.gguf", "--data", tmp_path / "twice.txt.gz", *SHORT, "--deduplicate", 0.9)
    assert said["near_duplicates"]["dropped"] >= 3 and said["near_duplicates"]["of"] == len(stories) + 3
    assert any("documents dropped as near-duplicates" in note for note in said["notes"])
    assert digest(tmp_path / "a.gguf") == digest(attar_out(home, tmp_path, stories))
    pruned = attar_said("prune", home / "teacher", "-o", tmp_path / "p", "--drop-layers", 1, "--data", tmp_path / "twice.txt.gz", "--deduplicate", 0.9)
    assert pruned["near_duplicates"] == said["near_duplicates"]
    quantized = attar_said("quantize", home / "teacher", "-o", tmp_path / "q.gguf", "--to", "Q8_0", "--data", tmp_path / "twice.txt.gz", "--deduplicate", 0.9)
    assert quantized["near_duplicates"] == said["near_duplicates"]


def attar_out(home, folder, stories):
    """The student of the same text without its copies, and without what is alike in it anyhow."""
    (folder / "once.txt").write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8")
    attar_said("distill", home / "teacher", "--student", home / "student", "-o", folder / "b.gguf", "--data", folder / "once.txt", *SHORT, "--deduplicate", 0.9)
    return folder / "b.gguf"


@pytest.mark.parametrize("value", ["1.5", "-0.5", "often"])
def test_a_threshold_that_is_none_is_refused(home, recipe, tmp_path, value):
    verb = ["distill", home / "teacher", "--student", home / "student", "-o", tmp_path / "out.gguf", "--data", home / "train.txt", f"--deduplicate={value}", "--quiet"]
    refused(attar_run(*verb), 2, "deduplicate")
    done = attar_run("run", recipe, f"data.deduplicate={value}", "--out", tmp_path / "run")
    refused(done, 2, "data.deduplicate", "expected ")
    assert value == "often" or "0 < x <= 1" in done.stderr
    assert not list(tmp_path.iterdir())


def test_python_drops_them_too(home, tmp_path):
    told = []
    result = attar.prune(home / "teacher", tmp_path / "out", data=home / "train.txt", drop_layers=1, deduplicate=0.9, progress=lambda event: told.append(event["stage"]))
    assert result.near_duplicates.of > 0 and "near-duplicates" in told
