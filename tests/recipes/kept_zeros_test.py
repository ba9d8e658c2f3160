"""A student that was made sparse keeps its zeros while it learns: by verb and Python, killed and resumed; a dense one is refused."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from bad_input_test import tiny
from on_policy_test import BIN, TEXT, attar, digest, flags
from safetensors.numpy import load_file

pytestmark = pytest.mark.recipe

TRAINING = {"tokens": 1500, "batch_tokens": 128, "sequence_tokens": 64, "checkpoint_every_steps": 3, "learning_rate": 1e-3, "weight_decay": 0.1}


def without_small_weights(tensors):
    """Half of each matrix of the layers is 0, as by magnitude."""
    for name, values in tensors.items():
        if "layers" in name and values.ndim == 2:
            values[np.abs(values) < np.median(np.abs(values))] = 0.0


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sparse")
    tiny(folder / "teacher")
    tiny(folder / "student", without_small_weights)
    return folder


def command(home, out, *more, student="student"):
    return ["distill", home / "teacher", "--student", home / student, "-o", out, "--data", TEXT / "tiny_train.txt", *flags(TRAINING), "--json", *more]


@pytest.mark.parametrize("how", [[], ["--optimizer", "muon"], ["--lora-rank", 4]], ids=["adamw", "muon", "lora"])
def test_zeros_stay_and_all_else_learns(home, tmp_path, how):
    done = attar(*command(home, tmp_path / "out", "--keep-zeros", *how))
    assert done.returncode == 0, done.stderr
    before, after = (load_file(folder / "model.safetensors") for folder in (home / "student", tmp_path / "out"))
    sparse = {name: values for name, values in before.items() if not values.all()}
    assert len(sparse) == 28, "the matrices of four layers"
    for name, values in sparse.items():
        assert not after[name][values == 0].any(), name
        assert (after[name] != values).sum() > 0.9 * (values != 0).sum(), name
    matrices = [values for values in after.values() if values.ndim == 2]
    zero_share = sum((values == 0).sum() for values in matrices) / sum(values.size for values in matrices)
    told = json.loads(done.stdout)
    assert told["zero_share"] == pytest.approx(zero_share)
    assert any("of the weights of its matrices are 0" in note for note in told["notes"])


def test_threads_a_kill_and_python_change_no_byte(home, tmp_path):
    sys.path.insert(0, str(BIN.parent / "python"))
    import attar as package

    for threads in (1, 2):
        done = attar(*command(home, tmp_path / f"{threads}.gguf", "--keep-zeros", "--threads", threads))
        assert done.returncode == 0, done.stderr
    whole = digest(tmp_path / "1.gguf")
    assert digest(tmp_path / "2.gguf") == whole
    killed = command(home, tmp_path / "killed.gguf", "--keep-zeros")
    child = subprocess.Popen([str(BIN / "attar"), *map(str, killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while child.poll() is None and not list((tmp_path / "killed.gguf.steps").glob("step-[0-9]*")):
        pass
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it was done before it could be killed"
    resumed = attar(*killed, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert digest(tmp_path / "killed.gguf") == whole
    package.distill(home / "teacher", home / "student", tmp_path / "python.gguf", data=TEXT / "tiny_train.txt", keep_zeros=True, **TRAINING)
    assert digest(tmp_path / "python.gguf") == whole
    assert attar(*command(home, tmp_path / "dense.gguf")).returncode == 0
    assert digest(tmp_path / "dense.gguf") != whole


def test_a_dense_student_has_none_to_keep(home, tmp_path):
    refused = attar(*command(home, tmp_path / "out.gguf", "--keep-zeros", student="teacher"))
    assert refused.returncode == 2 and "the student has no zeros to keep" in refused.stderr, refused.stderr
    assert not (tmp_path / "out.gguf").exists()
