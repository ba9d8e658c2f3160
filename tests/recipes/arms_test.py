"""Does distilling pay: the arms of a training beside its own bytes, killed and resumed, in a recipe, as a verb and from Python."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "build" / "python"))
import attar
from bad_input_test import TEXT, refused, tiny
from conftest import BIN, ROOT
from near_duplicates_test import attar_run, attar_said, command, digest, results_of, stage

pytestmark = pytest.mark.recipe

HELD_OUT = ROOT / "recipes/text/tiny_held_out.txt"
SHORT = ["--tokens", 600, "--batch-tokens", 128, "--sequence-tokens", 64, "--checkpoint-every-steps", 1, "--seed", 5]
ARMS = ["--arms", "--evaluation", "EVALUATION"]
NAMES = ["scratch-CE", "scratch-KD", "initialised-CE", "initialised-KD"]
RECIPE = """name: compared
seed: 5
teacher: {config: {layers: 2, width: 32, heads: 2, kv_heads: 1, head_dim: 16, ffn: 64, context: 64}, tokenizer: TOKENIZER, pretrain: {tokens: 2000, batch_tokens: 256}}
data: {train: [train.txt], evaluation: [evaluation.txt]}
stages:
  - distill: {tokens: 500, batch_tokens: 128, arms: true}
  - export: {formats: [hf]}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A teacher, a student of it without its feed-forward layers, text to learn from and to judge on."""
    folder = tmp_path_factory.mktemp("arms")

    def without(tensors):
        for name in tensors:
            if "down_proj" in name:
                tensors[name][:] = 0

    tiny(folder / "teacher")
    tiny(folder / "student", without)
    (folder / "train.txt").write_text(TEXT.read_text(encoding="utf-8")[:9000], encoding="utf-8")
    (folder / "evaluation.txt").write_text(HELD_OUT.read_text(encoding="utf-8")[:2500], encoding="utf-8")
    return folder


def distill(home, out, *more):
    flags = [home / "evaluation.txt" if flag == "EVALUATION" else flag for flag in more]
    return ["distill", home / "teacher", "--student", home / "student", "-o", out, "--data", home / "train.txt", *SHORT, *flags]


@pytest.fixture(scope="module")
def compared(home):
    return attar_said(*distill(home, home / "compared.gguf", *ARMS))


def test_the_student_is_that_of_the_training_alone(home, compared):
    alone = attar_said(*distill(home, home / "alone.gguf"))
    assert digest(home / "alone.gguf") == digest(home / "compared.gguf") and not (home / "compared.gguf.steps").exists()
    assert "arms" not in alone and alone["final_loss"] == compared["final_loss"]


def test_each_arm_is_the_training_that_its_name_says(home, compared):
    """The rows are what verify finds of the same trainings asked for one by one."""
    arms = compared["arms"]
    assert [row["arm"] for row in arms["rows"]] == NAMES and arms["asked"] == "initialised-KD" and arms["seeds"] == [5]
    assert len({row["tokens"] for row in arms["rows"]}) == 1
    for name, losses in (("initialised-KD", []), ("initialised-CE", ["--losses", "cross_entropy=1"])):
        out = home / name
        attar_said(*distill(home, out, *losses))
        judged = json.loads(
            subprocess.run(
                [BIN / "attar", "verify", home / "teacher", out, "--data", home / "evaluation.txt", "--context", "64", "--numerics", "fp32", "--no-bench", "--json", "--quiet"],
                capture_output=True,
                text=True,
            ).stdout
        )["results"]
        row = next(row for row in arms["rows"] if row["arm"] == name)
        assert row["kl"] == pytest.approx(judged["fp32"]["kl"]["mean"], rel=1e-9) and row["top1_agreement"] == pytest.approx(judged["fp32"]["top1_agreement"], rel=1e-9)
        assert row["perplexity"] == pytest.approx(judged["fp32"]["perplexity"]["student"], rel=1e-9)
        assert arms["scored_tokens"] == judged["scored_tokens"] and arms["text_sha256"] == judged["text_sha256"]
        assert arms["teacher"]["perplexity"] == pytest.approx(judged["fp32"]["perplexity"]["teacher"], rel=1e-9)
    kl = {row["arm"]: row["kl"] for row in arms["rows"]}
    more = {row["arm"]: row["difference"]["kl"] for row in arms["rows"][:3]}
    for name, of in more.items():
        assert of["mean"] == pytest.approx(kl[name] - kl["initialised-KD"], abs=1e-12) and of["low95"] < of["mean"] < of["high95"]
    assert arms["verdict"].startswith("Distilling ") and any("one seed" in note for note in compared["notes"])


def test_a_table_for_people(home):
    done = attar_run(*distill(home, home / "shown.gguf", *ARMS, "--threads", 1))
    assert done.returncode == 0 and all(re.search(rf"^  {name} +\d", done.stdout, re.MULTILINE) for name in NAMES)
    assert "Distilling " in done.stdout and "arm 2 of 4, scratch-KD" in done.stderr and "arm 4 of 4, initialised-KD" in done.stderr


@pytest.mark.parametrize("arm", ["scratch-KD-seed-5", "initialised-CE-seed-6", "asked"])
def test_killed_in_any_arm_and_resumed(home, tmp_path, arm):
    """Two seeds; the figures to the last digit, whatever the threads."""
    seeds = [*ARMS, "--arm-seeds", 2]
    if not (home / "whole.gguf").exists():
        (home / "whole.json").write_text(json.dumps(attar_said(*distill(home, home / "whole.gguf", *seeds))))
    whole, steps = json.loads((home / "whole.json").read_text()), tmp_path / "out.gguf.steps"
    child = subprocess.Popen(command(*distill(home, tmp_path / "out.gguf", *seeds, "--threads", 1)), stderr=subprocess.DEVNULL)
    folder = steps if arm == "asked" else steps / "arms" / arm
    while not list(folder.glob("step-[2-4]")):
        assert child.poll() is None, "it was done before it could be killed"
        time.sleep(0.001)
    child.kill()
    child.communicate()
    kept = {path.name: path.stat().st_mtime_ns for path in (steps / "arms").glob("*.json")}
    assert not (tmp_path / "out.gguf").exists()
    refused(attar_run(*distill(home, tmp_path / "out.gguf", *seeds)), 2, "--resume")
    followed = subprocess.Popen(
        command(*distill(home, tmp_path / "out.gguf", *seeds, "--threads", 2, "--resume", "--json")), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    said, log = followed.communicate()
    assert followed.returncode == 0, log
    assert json.loads(said)["arms"] == whole["arms"] and digest(tmp_path / "out.gguf") == digest(home / "whole.gguf")
    trained = set(re.findall(r"^arm \d+ of 8, ([\w-]+), seed (\d)", log, re.MULTILINE))
    assert trained.isdisjoint((name[: name.index("-seed")], name[-6]) for name in kept) and len(trained) + len(kept) == 8
    assert [row["by_seed"][1]["seed"] for row in whole["arms"]["rows"]] == [6] * 4
    assert all(row["by_seed"][0]["kl"] != row["by_seed"][1]["kl"] for row in whole["arms"]["rows"])


def test_figures_of_another_training_are_not_taken(home, tmp_path):
    out = tmp_path / "out.gguf"
    child = subprocess.Popen(command(*distill(home, out, *ARMS)), stderr=subprocess.DEVNULL)
    while not list((tmp_path / "out.gguf.steps/arms").glob("scratch-CE*.json")):
        assert child.poll() is None
        time.sleep(0.001)
    child.kill()
    child.communicate()
    other = [*distill(home, out, *ARMS), "--learning-rate", 1e-3, "--resume"]
    for folder in (tmp_path / "out.gguf.steps/arms").glob("*-seed-5"):
        shutil.rmtree(folder)
    said = attar_said(*other)
    alone = attar_said(*distill(home, tmp_path / "alone.gguf", *ARMS, "--learning-rate", 1e-3))
    assert said["arms"] == alone["arms"]


def test_python_has_the_arms_too(home, compared):
    told = []
    result = attar.distill(
        home / "teacher",
        home / "student",
        home / "python.gguf",
        data=home / "train.txt",
        evaluation=home / "evaluation.txt",
        arms=True,
        deduplicate=0.8,
        tokens=600,
        batch_tokens=128,
        sequence_tokens=64,
        checkpoint_every_steps=1,
        seed=5,
        progress=lambda event: told.append(event["stage"]),
    )
    assert result.arms.rows[3].arm == "initialised-KD" and json.loads(json.dumps(result.arms)) == compared["arms"]
    assert result.near_duplicates.dropped == 0 and "arm 3 of 4, initialised-CE" in told and "near-duplicates" in told
    assert digest(home / "python.gguf") == digest(home / "compared.gguf"), "nothing was dropped: the same bytes"


@pytest.mark.parametrize(
    "flags, code, words",
    [
        (["--arms"], 2, ["--arms", "--evaluation TEXT"]),
        (["--evaluation", "EVALUATION"], 2, ["--evaluation", "--arms beside it"]),
        ([*ARMS, "--losses", "cross_entropy=1"], 2, ["losses", "cross_entropy alone"]),
        ([*ARMS, "--patience", 2, "--held-out-tokens", 100], 2, ["patience", "same number of tokens"]),
        (["--arm-seeds", 2], 2, ["arm_seeds", "arms beside it"]),
        ([*ARMS, "--arm-seeds", 0], 2, ["arm_seeds"]),
        (["--arms", "--evaluation", "TRAIN"], 3, ["--data", "no document is left"]),
    ],
)
def test_what_cannot_be_compared_is_refused(home, tmp_path, flags, code, words):
    flags = [home / "train.txt" if flag == "TRAIN" else flag for flag in flags]
    refused(attar_run(*distill(home, tmp_path / "out.gguf", *flags), "--quiet"), code, *words)
    assert not (tmp_path / "out.gguf").exists()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "compared.yaml").write_text(RECIPE.replace("TOKENIZER", str(ROOT / "recipes/text/tiny_tokenizer")), encoding="utf-8")
    text = TEXT.read_text(encoding="utf-8")
    (folder / "train.txt").write_text(text[:9000] + "\n<|endoftext|>\n" + text[:900] + " the end\n<|endoftext|>\n" + text[9000:12000], encoding="utf-8")
    (folder / "evaluation.txt").write_text(HELD_OUT.read_text(encoding="utf-8")[:2500], encoding="utf-8")
    return folder / "compared.yaml"


def test_a_recipe_compares_and_reports(recipe, tmp_path):
    stages = results_of(recipe, tmp_path / "run", "stages.distill.arm_seeds=2")
    arms = stage(stages, "distill")["results"]["arms"]
    assert [row["arm"] for row in arms["rows"]] == NAMES and arms["seeds"] == [5, 6] and len(arms["rows"][0]["by_seed"]) == 2
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "Does distilling pay?" in page and arms["verdict"] in page.replace("&nbsp;", " ") and "seed 6" in page
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert {"1-distill", "1-distill initialised-KD-seed-6", "1-distill scratch-CE-seed-5"} <= {line["stage"] for line in lines}
    shown = attar_run("report", tmp_path / "run").stdout
    assert "does distilling pay?" in shown and arms["verdict"] in shown
    kept = tmp_path / "run/checkpoints/1-distill"
    assert len(list((kept / "arms").iterdir())) == 8 and not [path for path in (kept / "arms").iterdir() if path.is_dir()]
    plain = results_of(recipe, tmp_path / "plain", "stages.distill.arms=false")
    assert "arms" not in stage(plain, "distill")["results"] and "Does distilling pay?" not in (tmp_path / "plain/report.html").read_text(encoding="utf-8")
    assert digest(tmp_path / "plain/export/hf/model.safetensors") == digest(tmp_path / "run/export/hf/model.safetensors")


def test_a_recipe_killed_in_an_arm_goes_on(recipe, tmp_path):
    whole = results_of(recipe, tmp_path / "whole")
    child = subprocess.Popen(
        command("run", recipe, "--out", tmp_path / "run", "stages.distill.checkpoint_every_steps=1", "--quiet"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not list((tmp_path / "run/checkpoints/1-distill/arms/initialised-CE-seed-5").glob("step-*")):
        assert child.poll() is None
        time.sleep(0.001)
    child.kill()
    child.communicate()
    again = attar_said("run", "--resume", tmp_path / "run")["results"]["stages"]
    assert stage(again, "distill")["results"]["arms"] == stage(whole, "distill")["results"]["arms"]


def test_a_student_of_random_weights_has_two_arms(recipe, tmp_path):
    random = "student={config: {layers: 1, width: 32, heads: 2, kv_heads: 1, head_dim: 16, ffn: 32, context: 64}}"
    of = stage(results_of(recipe, tmp_path / "run", random), "distill")
    assert [row["arm"] for row in of["results"]["arms"]["rows"]] == NAMES[:2] and of["results"]["arms"]["asked"] == "scratch-KD"
    assert any("random weights, so the two initialised arms are left out" in note for note in of["notes"])
    plan = json.loads(attar_run("run", recipe, random, "--dry-run", "--json").stdout)
    assert "2 arms" in stage_of(plan)["what"]


def stage_of(plan):
    return next(stage for stage in plan["stages"] if stage["stage"] == "distill")


def test_a_dry_run_counts_the_arms(recipe):
    def planned(*more):
        """The distill stage of a plan and its time in units of the teacher's own training, which cancels the machine's speed."""
        done = attar_run("run", recipe, "--dry-run", "--json", *more)
        assert done.returncode == 0, done.stderr
        plan = json.loads(done.stdout)
        teacher = next(stage for stage in plan["stages"] if stage["stage"] == "teacher")
        return stage_of(plan), stage_of(plan)["seconds"] / teacher["seconds"]

    one, alone = planned("stages.distill.arms=false")
    four, with_arms = planned()
    twelve, with_seeds = planned("stages.distill.arm_seeds=3")
    assert "4 arms" in four["what"] and "12 arms" in twelve["what"] and "arms" not in one["what"]
    assert one["tokens"] == four["tokens"] and with_arms > 2.5 * alone and with_seeds > 2.5 * with_arms


@pytest.mark.parametrize(
    "change, words",
    [
        ("data.evaluation=[]", "arms: needs data.evaluation"),
        ("stages.distill.losses={cross_entropy: 1}", "a loss that asks the teacher"),
        ("teacher.pretrain.arms=true", "arms"),
    ],
)
def test_recipes_that_cannot_be_compared_are_refused(recipe, tmp_path, change, words):
    refused(attar_run("run", recipe, change, "--out", tmp_path / "run"), 2, words)
    assert not (tmp_path / "run").exists()
