"""What is learned how much, and when: weights of lines and answers, and a curriculum by the teacher's own loss, by verb, recipe and Python."""

import json
import sys

import pytest
from on_policy_test import BIN, TEXT, attar, digest, flags, home

sys.path.insert(0, str(BIN.parent / "python"))
import attar as toolkit

pytestmark = pytest.mark.recipe

__all__ = ["home"]
TRAINING = {"tokens": 1500, "batch_tokens": 128, "sequence_tokens": 64, "checkpoint_every_steps": 3}


def lines(path, weight_of):
    """The recipe's stories as JSON lines, each with a weight, or none."""
    with open(path, "w", encoding="utf-8") as file:
        for i, story in enumerate((TEXT / "tiny_train.txt").read_text(encoding="utf-8").split("<|endoftext|>\n")[:60]):
            weight = weight_of(i)
            file.write(json.dumps({"text": story.strip()} | ({} if weight is None else {"weight": weight})) + "\n")
    return path


def learned(home, out, data, *more):
    done = attar("distill", home / "teacher", "--student", home / "student", "-o", out, "--data", data, *flags(TRAINING), *more, "--json")
    assert done.returncode == 0, done.stderr
    return digest(out)


@pytest.mark.parametrize("signal", ["online", "sampled"])
def test_weights_of_lines(home, tmp_path, signal):
    plain = lines(tmp_path / "plain.jsonl", lambda i: None)
    twice = lines(tmp_path / "twice.jsonl", lambda i: 2)
    some = lines(tmp_path / "some.jsonl", lambda i: 1 if i % 2 else 0.1)
    without = learned(home, tmp_path / "plain.gguf", plain, "--signal", signal)
    assert learned(home, tmp_path / "twice.gguf", twice, "--signal", signal) == without, "alike: nothing changes"
    assert learned(home, tmp_path / "some.gguf", some, "--signal", signal) != without


def test_a_line_of_weight_nothing_teaches_nothing(home, tmp_path):
    half, none = lines(tmp_path / "half.jsonl", lambda i: None if i % 2 else 0), lines(tmp_path / "none.jsonl", lambda i: 0)
    assert learned(home, tmp_path / "half.gguf", half) != learned(home, tmp_path / "all.gguf", lines(tmp_path / "all.jsonl", lambda i: None))
    refused = attar("distill", home / "teacher", "--student", home / "student", "-o", tmp_path / "none.gguf", "--data", none, *flags(TRAINING))
    assert refused.returncode == 3 and "no token to learn from" in refused.stderr


@pytest.mark.parametrize("weight", [-1, 1e9, "much", None])
def test_weights_that_cannot_be_are_refused(home, tmp_path, weight):
    (tmp_path / "wrong.jsonl").write_text('{"text": "fine"}\n' + json.dumps({"text": "wrong", "weight": weight}) + "\n")
    done = attar("distill", home / "teacher", "--student", home / "student", "-o", tmp_path / "wrong.gguf", "--data", tmp_path / "wrong.jsonl", *flags(TRAINING))
    assert done.returncode == 3 and "wrong.jsonl:2" in done.stderr and "a number from 0 to 1000" in done.stderr


RECIPE = f"""teacher: {{teacher}}
seed: 5
student: {{{{config: {{{{family: llama, layers: 2, width: 48, heads: 2, kv_heads: 1, head_dim: 16, ffn: 96, context: 128}}}}}}}}
data: {{{{train: [{TEXT / "tiny_train.txt"}], evaluation: [{TEXT / "tiny_held_out.txt"}]}}}}
stages:
  - distill: {{{{tokens: 1500, batch_tokens: 128, sequence_tokens: 64, checkpoint_every_steps: 2, curriculum: {{share}}}}}}
  - export
"""


def ran(home, folder, share, *more):
    (folder / "recipe.yaml").write_text(RECIPE.format(teacher=home / "teacher", share=share))
    done = attar("run", folder / "recipe.yaml", "--out", folder / f"run{share}", *more)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / f"run{share}" / "metrics.jsonl").read_text().splitlines()]


def test_a_curriculum_goes_from_easy_to_hard(home, tmp_path):
    """Other documents come first; which, tests/distill/curriculum_test.cpp says."""
    plain, easy_first = ran(home, tmp_path, 0), ran(home, tmp_path, 0.9)
    assert [step["loss"] for step in plain] != [step["loss"] for step in easy_first]
    beside, alone = (
        next(stage for stage in json.loads(attar("run", tmp_path / "recipe.yaml", *more, "--dry-run", "--json").stdout)["stages"] if stage["stage"] == "distill")
        for more in ([], ["stages.distill.losses={cross_entropy: 1}"])
    )
    assert "the teacher beside the student" in beside["what"]
    assert "by the text alone, which the teacher reads first" in alone["what"] and alone["memory_bytes"] < beside["memory_bytes"]


def test_it_learns_from_the_text_alone_by_a_teacher(home, tmp_path):
    alone = ["--losses", "cross_entropy=1"]
    data = TEXT / "tiny_train.txt"
    first = learned(home, tmp_path / "a.gguf", data, *alone, "--curriculum", "0.5")
    assert first != learned(home, tmp_path / "b.gguf", data, *alone)
    assert first == learned(home, tmp_path / "c.gguf", data, *alone, "--curriculum", "0.5", "--threads", "1")
    toolkit.distill(home / "teacher", home / "student", tmp_path / "d.gguf", data=data, losses={"cross_entropy": 1}, curriculum=0.5, **TRAINING)
    assert digest(tmp_path / "d.gguf") == first


def test_a_teacher_that_is_made_here_has_none(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        f"teacher: {{config: {{layers: 1, width: 32, heads: 2, kv_heads: 1, head_dim: 16, ffn: 64, context: 64}}, tokenizer: {TEXT / 'tiny_tokenizer'}, "
        f"pretrain: {{tokens: 500, curriculum: 0.5}}}}\ndata: {{train: [{TEXT / 'tiny_train.txt'}]}}\nstages: [export]\n"
    )
    done = attar("run", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    assert done.returncode == 2 and "curriculum: goes by a teacher" in done.stderr
