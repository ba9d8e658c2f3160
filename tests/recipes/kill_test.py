"""Every kind of training, killed at drawn moments and resumed until it is done: nothing is there in part, no checkpoint is lost, the bytes are the same."""

import contextlib
import dataclasses
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest
from aligned_test import MERGES
from aligned_test import recipe as across_tokenizers
from bad_input_test import tiny
from gguf_oracle import tiny_tokenizer
from kept_zeros_test import without_small_weights
from on_policy_test import BIN, OWN, TEXT, attar, digest
from ranks_test import free_port
from tiny_kill_test import SEED

pytestmark = pytest.mark.recipe

TRAINING = {"tokens": 8000, "batch_tokens": 128, "sequence_tokens": 64, "checkpoint_every_steps": 4}
LOOKS = {"held_out_tokens": 500, "held_out_every_steps": 4}  # at the steps with a checkpoint
PRETRAIN = f"""name: killed
seed: 5
teacher:
  config: {{layers: 2, width: 64, heads: 2, kv_heads: 1, head_dim: 32, ffn: 128, context: 256}}
  tokenizer: {TEXT / "tiny_tokenizer"}
  pretrain: {{tokens: 8000, batch_tokens: 128, sequence_tokens: 64, checkpoint_every_steps: 4}}
data: {{train: [train.txt]}}
stages: [export: {{formats: [gguf]}}]
"""
LONG_S = 300  # far more than any training here takes


@dataclasses.dataclass(frozen=True)
class Kind:
    options: dict = dataclasses.field(default_factory=dict)
    student: str = "student"
    ranks: int = 1
    verb: str = "distill"

    def words(self, home, out):
        if self.verb == "run":
            return ["run", home / "pretrain.yaml", "--out", out]
        learned = ["--student", home / self.student] if self.verb == "distill" else []
        judged = ["--evaluation", home / "evaluation.txt"] if "arms" in self.options else []
        usual = TRAINING if self.verb == "distill" else {}
        return [self.verb, home / "teacher", *learned, "-o", out, "--data", home / "train.txt", *judged, *flags(usual | self.options)]


KINDS = {
    "pretraining": Kind(verb="run"),
    "online": Kind(),
    "cached": Kind({"signal": "cached"}),
    "sampled": Kind({"signal": "sampled"}),
    "hidden": Kind({"signal": "hidden", "losses": "jsd=1"}),
    "features": Kind({"features": ["hidden_mse=1", "attention_relation=1"]}),
    "another-tokenizer": Kind({"losses": "aligned_likelihood=1"}, student="other"),
    "on-policy": Kind({**OWN, "losses": "reverse_kl=1", "tokens": 3000}),
    "zeros-kept": Kind({"keep_zeros": True}, student="sparse"),
    "arms": Kind({"arms": True, "tokens": 2000}),
    "muon": Kind({"optimizer": "muon"}),
    "average": Kind({"ema": 0.9}),
    "best": Kind({"keep": "best", **LOOKS}),
    "best-of-the-average": Kind({"keep": "best", "ema": 0.9, **LOOKS}),
    "adapters": Kind({"lora_rank": 4}),
    "curriculum": Kind({"curriculum": 0.5}),
    "ranks": Kind(ranks=2),
    "learned-grids": Kind({"to": "Q4_0", "preset": "learned", "calibration_tokens": 1000, "qad_tokens": 20000, "qad_batch_tokens": 128}, verb="quantize"),
}
NOWHERE_ELSE = ["sampled", "muon", "best-of-the-average", "adapters", "curriculum"]  # the others' own tests kill them once
KILLS = math.ceil(int(os.environ.get("ATTAR_KILLS", "100")) / len(KINDS))


def flags(options):
    words = []
    for name, values in options.items():
        flag = "--" + name.replace("_", "-")
        words += [flag] if values is True else [word for value in (values if isinstance(values, list) else [values]) for word in (flag, value)]
    return words


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A teacher; students without half of its channels, without its small weights, and with a tokenizer of its own; texts."""
    folder = tmp_path_factory.mktemp("kills")
    (folder / "train.txt").write_text((TEXT / "tiny_train.txt").read_text(encoding="utf-8")[:40000], encoding="utf-8")
    (folder / "evaluation.txt").write_text((TEXT / "tiny_held_out.txt").read_text(encoding="utf-8")[:2500], encoding="utf-8")
    (folder / "pretrain.yaml").write_text(PRETRAIN, encoding="utf-8")
    tiny(folder / "teacher")
    tiny(folder / "sparse", without_small_weights)
    pruned = attar("prune", folder / "teacher", "-o", folder / "student", "--drop-ffn", 0.5, "--round-channels", 8, "--data", folder / "train.txt")
    assert pruned.returncode == 0, pruned.stderr
    (folder / "bytes").mkdir()
    tiny_tokenizer(folder / "bytes", 256 + len(MERGES), MERGES)
    made = attar("run", across_tokenizers(folder, folder, folder / "bytes", "  - export: {formats: [hf]}\n"), "--out", folder / "random", "--quiet")
    assert made.returncode == 0, made.stderr
    shutil.move(folder / "random/export/hf", folder / "other")
    return folder


def check_whole(checkpoint):
    """Every file of it is there to its end."""
    assert (checkpoint / "config.json").is_file() and (checkpoint / "model.safetensors").is_file(), sorted(checkpoint.iterdir())
    json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    for path in checkpoint.glob("*.safetensors"):
        with open(path, "rb") as file:
            head = int.from_bytes(file.read(8), "little")
            tensors = json.loads(file.read(head))
        assert path.stat().st_size == 8 + head + max(one["data_offsets"][1] for name, one in tensors.items() if name != "__metadata__"), path


def check_best(folder, step):
    """The best weights are those that the checkpoint of this step asks for, or later ones."""
    history = json.loads((folder / f"step-{step}/state.json").read_text(encoding="utf-8"))["history"]
    looks = [(each["held_out"], each["step"]) for each in history if "held_out" in each]
    if looks:
        assert json.loads((folder / "best/state.json").read_text(encoding="utf-8"))["step"] >= min(looks)[1]


class Training:
    """One that is started, killed and gone on with in a folder of its own, which a new one begins when it is done."""

    def __init__(self, kind, home, folder):
        self.kind, self.home, self.folder = kind, home, folder
        self.out = folder / ("out" if kind.verb == "run" else "out.gguf")
        self.steps = self.out / "checkpoints" if kind.verb == "run" else folder / "out.gguf.steps"
        self.result = self.out / "export/model.gguf" if kind.verb == "run" else self.out
        self.newest, self.digests = {}, []  # step of each folder of checkpoints; of what each training gave

    def started(self):
        self.folder.mkdir(exist_ok=True)
        words = [str(word) for word in [BIN / "attar", *self.kind.words(self.home, self.out), "--resume", "--quiet"]]
        shared = {"WORLD_SIZE": str(self.kind.ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        places = [{}] if self.kind.ranks == 1 else [shared | {"RANK": str(rank)} for rank in range(self.kind.ranks)]
        return [subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, **place}) for place in places]

    def go_on(self):
        """To the end."""
        ranks = self.started()
        said = [rank.communicate(timeout=LONG_S)[1] for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0] * len(ranks), said
        self.end()

    def killed_after(self, seconds):
        """-> whether it was at work then"""
        ranks = self.started()
        with contextlib.suppress(subprocess.TimeoutExpired):
            ranks[0].wait(timeout=seconds)
        for rank in ranks:
            if rank.poll() is None:
                os.killpg(rank.pid, signal.SIGKILL)
        said = [rank.communicate(timeout=LONG_S)[1] for rank in ranks]
        if ranks[0].returncode == 0:
            self.end()
            return False
        assert ranks[0].returncode == -signal.SIGKILL, said
        if self.kind.verb != "run" and self.out.exists():  # what is left to do is to remove the checkpoints
            self.begin_anew()
        else:
            self.check_checkpoints()
        return True

    def end(self):
        left = [path.name for path in self.folder.rglob("*") if ".tmp-" in path.name or ".old-" in path.name]
        assert not (left if self.kind.verb == "run" else self.steps.exists()), left
        self.begin_anew()

    def begin_anew(self):
        self.digests.append(digest(self.result))
        shutil.rmtree(self.folder)
        self.newest = {}

    def is_judged(self, folder):
        """An arm whose figures are kept: its checkpoints go."""
        return (folder.parent / f"{folder.name}.json").exists()

    def check_checkpoints(self):
        newest = {}
        for path in self.steps.rglob("*"):
            if not re.fullmatch(r"step-\d+|best|final", path.name) or self.is_judged(path.parent):
                continue
            check_whole(path)
            if path.name.startswith("step-"):
                newest[path.parent] = max(newest.get(path.parent, 0), int(path.name.removeprefix("step-")))
        for folder, step in self.newest.items():
            assert newest.get(folder, 0) >= step or self.is_judged(folder), f"{folder}: of step {step} before"
        if self.kind.options.get("keep") == "best":
            for folder, step in newest.items():
                check_best(folder, step)
        self.newest = newest


@pytest.mark.parametrize("name, kills", [(name, 2) for name in NOWHERE_ELSE] + [pytest.param(name, KILLS, marks=pytest.mark.slow) for name in KINDS])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(home, tmp_path, name, kills):
    """Each start is killed at a moment drawn over the time that the whole takes; one that is done before begins anew."""
    print(f"ATTAR_KILL_SEED={SEED}")
    whole, broken = (Training(KINDS[name], home, tmp_path / folder) for folder in ("whole", "broken"))
    begun = time.monotonic()
    whole.go_on()
    length_s, draw, made = time.monotonic() - begun, random.Random(f"{SEED} {name}"), 0
    for _ in range(20 * kills):
        made += broken.killed_after(length_s * draw.random())
        if made == kills:
            break
    if broken.folder.exists():
        broken.go_on()
    print(f"{name}: {length_s:.1f} s, killed {made} times in {len(broken.digests)} trainings", flush=True)
    assert made == kills and set(broken.digests) == set(whole.digests)
