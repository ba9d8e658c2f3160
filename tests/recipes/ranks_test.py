"""Trainings of several processes: by torchrun and by plain variables, with what goes wrong among them."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import BIN, ROOT
from tiny_run import digest

pytestmark = pytest.mark.recipe

TEXT = ROOT / "recipes/text"
LONG_S = 300  # far more than any run here takes
RECIPE = f"""name: ranks
seed: 5
teacher:
  config: {{layers: 4, width: 64, heads: 2, kv_heads: 2, head_dim: 32, ffn: 192, context: 256}}
  tokenizer: {TEXT / "tiny_tokenizer"}
  pretrain: {{tokens: 10000, learning_rate: 4.0e-3, batch_tokens: 512, sequence_tokens: 128}}
data:
  train: [{TEXT / "tiny_train.txt"}]
  evaluation: [{TEXT / "tiny_held_out.txt"}]
stages:
  - prune: {{drop_ffn: 0.5, round_channels: 32, calibration_tokens: 2000}}
  - distill: {{tokens: 8000, learning_rate: 1.0e-3, batch_tokens: 512, sequence_tokens: 128, checkpoint_every_steps: 4, held_out_tokens: 500,
      held_out_every_steps: 4, ema: 0.9, keep: best, spike_factor: 5.0}}
  - quantize: {{to: Q4_0, preset: learned, qad_tokens: 3000, qad_batch_tokens: 512, calibration_tokens: 2000}}
  - export: {{formats: [gguf]}}
  - verify: {{context: 128, max_tokens: 1000, bench: false, samples: 1, baseline: false}}
"""
TRAININGS = ["0-teacher", "2-distill", "3-quantize"]


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def started(size, *arguments, **other):
    """One process a rank, by hand."""
    place = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())} | other
    command = [str(BIN / "attar"), *map(str, arguments)]
    return [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "RANK": str(rank), **place}) for rank in range(size)]


def ended(ranks):
    """-> (exit code, stdout, stderr) of each"""
    said = [rank.communicate(timeout=LONG_S) for rank in ranks]
    return [(rank.returncode, *words) for rank, words in zip(ranks, said, strict=True)]


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "build/python")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LONG_S)


def curve(folder, stage):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["stage"] == stage]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks") / "ranks.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def shared(recipe):
    """A run in two ranks."""
    folder = recipe.parent / "shared"
    (code, out, said), other = ended(started(2, "run", recipe, "--out", folder, "--quiet", "--json"))
    assert code == 0, said
    assert other == (0, "", ""), "only rank 0 speaks"
    assert json.loads(out)["measurements"]["machine"]["ranks"] == 2
    return folder


def test_two_ranks_learn_as_one_process_does(recipe, shared):
    alone = recipe.parent / "alone"
    done = subprocess.run([BIN / "attar", "run", recipe, "--out", alone, "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for stage in TRAININGS:
        one, two = curve(alone, stage), curve(shared, stage)
        assert len(one) == len(two) > 5
        assert [(a["tokens"], "held_out" in a) for a in one] == [(b["tokens"], "held_out" in b) for b in two]
    for a, b in zip(curve(alone, TRAININGS[0]), curve(shared, TRAININGS[0]), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-6), a["step"]  # later ones start where other channels were cut and codes chosen
    assert re.search(r" threads, in 2 ranks of \d+: ", (shared / "log.txt").read_text())
    assert " ranks of " not in (alone / "log.txt").read_text()


@pytest.mark.parametrize("how", [["-m", "attar"], ["--no-python", BIN / "attar"]])
def test_torchrun_gives_the_same_bytes(recipe, shared, tmp_path, how):
    done = torchrun(*how, "run", recipe, "--out", tmp_path / "run", "--quiet")
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "run/export/model.gguf") == digest(shared / "export/model.gguf")
    # each process has its part of the cores, unless it was asked for others: no bit depends on it
    done = torchrun(*how, "run", recipe, "--out", tmp_path / "run", "--quiet", "--threads", 2, "--resume")
    assert done.returncode == 0, done.stderr


def broken(recipe, folder, kind, victim):
    """A run of two ranks whose `victim` gets a signal in the midst of its distillation. -> how they ended"""
    ranks = started(2, "run", recipe, "--out", folder, "--quiet")
    until_it_distills(ranks[0], folder)
    ranks[victim].send_signal(kind)
    return ended(ranks)


def until_it_distills(process, folder):
    """Waits for the midst of the distillation, behind a checkpoint."""
    while not (folder / "metrics.jsonl").exists() or len(curve_so_far(folder, "2-distill")) < 6 or not checkpoints(folder):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)


def checkpoints(folder):
    """Whole ones: they are written beside the steps behind them."""
    return [path for path in (folder / "checkpoints/2-distill").glob("step-*") if path.suffix == ""]


def curve_so_far(folder, stage):
    with contextlib.suppress(json.JSONDecodeError):  # a line that is being written
        return curve(folder, stage)
    return []


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("size", [2, 1])
def test_a_killed_rank_ends_all_and_the_run_goes_on(recipe, shared, tmp_path, victim, size):
    folder = tmp_path / "run"
    ways = broken(recipe, folder, signal.SIGKILL, victim)
    assert ways[victim][0] == -signal.SIGKILL
    code, _, said = ways[1 - victim]
    assert code == 1 and "another rank has ended" in said and "--resume" in said, said
    assert checkpoints(folder)
    again = ended(started(size, "run", "--resume", folder, "--quiet"))
    assert [way[0] for way in again] == [0] * size, again
    if size == 2:
        assert digest(folder / "export/model.gguf") == digest(shared / "export/model.gguf")
    for a, b in zip(curve(shared, "2-distill"), curve(folder, "2-distill"), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_asked_to_stop_stops_all_behind_a_checkpoint(recipe, shared, tmp_path, victim, kind):
    folder = tmp_path / "run"
    ways = broken(recipe, folder, kind, victim)
    assert ways[0][0] == 130 and f"attar run --resume {folder} goes on" in ways[0][2], ways
    assert ways[1][0] == (130 if victim == 1 else 0), ways
    again = ended(started(2, "run", "--resume", folder, "--quiet"))
    assert [way[0] for way in again] == [0, 0], again
    assert digest(folder / "export/model.gguf") == digest(shared / "export/model.gguf")


@pytest.mark.slow  # a minute of silence
def test_one_that_says_nothing_any_more_ends_all(recipe, tmp_path):
    """Its connections stay open: no end of it is told."""
    folder = tmp_path / "run"
    ranks = started(2, "run", recipe, "--out", folder, "--quiet")
    while not (folder / "metrics.jsonl").exists() or len(curve_so_far(folder, "2-distill")) < 6:
        assert ranks[0].poll() is None, ranks[0].stderr.read()
        time.sleep(0.001)
    ranks[1].send_signal(signal.SIGSTOP)
    said = ranks[0].communicate(timeout=LONG_S)[1]
    ranks[1].kill(), ranks[1].communicate()
    assert ranks[0].returncode == 1 and "rank 1 says nothing any more" in said and "--resume" in said, said


def under_torchrun(recipe, folder):
    """A run of two ranks, to be disturbed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    command += [str(BIN / "attar"), "run", str(recipe), "--out", str(folder), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_torchrun_stops_all_of_its_processes(recipe, shared, tmp_path):
    """It gives the signal that it gets to all of them, and quits those that do not end within half a minute."""
    folder = tmp_path / "run"
    child = under_torchrun(recipe, folder)
    while not (folder / "metrics.jsonl").exists() or len(curve_so_far(folder, "2-distill")) < 6:
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.001)
    child.send_signal(signal.SIGTERM)
    said = child.communicate(timeout=LONG_S)[1]
    assert f"attar run --resume {folder} goes on" in said, said
    assert [way[0] for way in ended(started(2, "run", "--resume", folder, "--quiet"))] == [0, 0]
    assert digest(folder / "export/model.gguf") == digest(shared / "export/model.gguf")


def process_of(parent, rank):
    """The id of the process of a rank that torchrun has started."""
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            belongs = int(status.read_text(errors="replace").rsplit(")", 1)[1].split()[1]) == parent.pid
            if belongs and f"RANK={rank}".encode() in (status.parent / "environ").read_bytes().split(b"\0"):
                return int(status.parent.name)
    raise AssertionError(f"torchrun has no rank {rank}")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_is_killed_under_torchrun_ends_the_run_and_a_resume_gives_the_same_bytes(recipe, shared, tmp_path, victim):
    """torchrun says who was killed, and asks the other one to stop, which says how to go on: it has found the end of the first, or stopped behind a checkpoint."""
    folder = tmp_path / "run"
    child = under_torchrun(recipe, folder)
    while not (folder / "metrics.jsonl").exists():
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.001)
    process = process_of(child, victim)
    until_it_distills(child, folder)
    before = {path.name for path in checkpoints(folder)}
    os.kill(process, signal.SIGKILL)
    said = child.communicate(timeout=LONG_S)[1]
    assert child.returncode == 1 and "SIGKILL" in said, said
    assert "--resume" in said and ("another rank has ended" in said or f"attar run --resume {folder} goes on" in said), said
    kept = {path.name for path in checkpoints(folder)}
    assert kept and max(map(step_of, kept)) >= max(map(step_of, before)), (before, kept)
    done = torchrun("--no-python", BIN / "attar", "run", "--resume", folder, "--quiet")
    assert done.returncode == 0, done.stderr
    assert digest(folder / "export/model.gguf") == digest(shared / "export/model.gguf")
    for a, b in zip(curve(shared, "2-distill"), curve(folder, "2-distill"), strict=True):
        assert b["loss"] == a["loss"], a["step"]


def step_of(checkpoint):
    return int(checkpoint.removeprefix("step-"))


def test_verbs_share_their_trainings(shared, tmp_path):
    teacher, student = shared / "checkpoints/0-teacher/final", shared / "checkpoints/1-prune/final"
    learn = ["distill", teacher, "--student", student, "--data", TEXT / "tiny_train.txt", "--tokens", 2000, "--batch-tokens", 512, "--sequence-tokens", 128]
    quantize = ["quantize", student, "--to", "Q4_0", "--preset", "learned", "--data", TEXT / "tiny_train.txt", "--calibration-tokens", 1000]
    quantize += ["--qad-tokens", 1500, "--qad-batch-tokens", 512]
    for name, verb in {"learned": [*learn, "--signal", "sampled"], "quantized": quantize}.items():
        losses = []
        for size in (1, 2):
            ways = ended(started(size, *verb, "-o", tmp_path / f"{name}-{size}.gguf", "--json", "--quiet"))
            assert [way[0] for way in ways] == [0] * size, ways
            document = json.loads(ways[0][1])
            losses.append(document.get("final_loss", document.get("qad", {}).get("kl_after")))
        assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_where_nothing_is_trained_the_others_wait(recipe, shared, tmp_path):
    plain = tmp_path / "plain.yaml"
    text = f"name: plain\nteacher: {shared / 'checkpoints/0-teacher/final'}\ndata: {{evaluation: [{TEXT / 'tiny_held_out.txt'}]}}\n"
    plain.write_text(f"{text}stages: [quantize: {{to: Q8_0, importance: false}}, export: {{formats: [gguf]}}]\n", encoding="utf-8")
    for size in (1, 3):
        ways = ended(started(size, "run", plain, "--out", tmp_path / str(size), "--quiet"))
        assert [way[0] for way in ways] == [0] * size, ways
    assert digest(tmp_path / "1/export/model.gguf") == digest(tmp_path / "3/export/model.gguf")
    finished = ended(started(2, "run", "--resume", tmp_path / "3", "--quiet"))
    assert [way[0] for way in finished] == [0, 0], finished
    refused = ended(started(2, "run", tmp_path / "no.yaml"))
    assert [way[0] for way in refused] == [3, 0] and "no.yaml" in refused[0][2], refused


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"RANK": "2"}, "RANK: is not what it can be (expected 0 to 1, got 2)"),
        ({"RANK": "one"}, "RANK: is not what it can be"),
        ({"RANK": ""}, "RANK: is not set, and WORLD_SIZE is"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE: is not what it can be"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR: is not set"),
        ({"MASTER_PORT": ""}, "MASTER_PORT: is not set"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT: is not what it can be (expected 1 to 65535, got 70000)"),
    ],
)
def test_variables_that_do_not_fit_are_refused(recipe, tmp_path, given, says):
    ((code, _, said),) = ended(started(1, "run", recipe, "--out", tmp_path / "run", **({"WORLD_SIZE": "2"} | given)))
    assert code == 2 and says in said, said
    assert not (tmp_path / "run").exists()


def test_a_port_in_use_is_named(recipe, tmp_path):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ((code, _, said),) = ended(started(1, "run", recipe, "--out", tmp_path / "run", WORLD_SIZE="2", MASTER_PORT=str(port)))
    assert code == 5 and f"127.0.0.1:{port}: rank 0 cannot listen there" in said, said
    assert not (tmp_path / "run").exists()
