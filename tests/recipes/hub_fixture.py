"""A hub on this machine, with models and every fault that one may have, and a Hugging Face home of its own that programs look into."""

import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
import tiny_eval_model
from conftest import BIN, ROOT
from hub_server import Hub, Repository

CARD = b"---\nlicense: apache-2.0\nbase_model: someone/larger\n---\n# A card\n"
TOKEN = "hf_secret"
RECIPE = """
version: 1
name: from-hub
teacher: hf:org/folder
data:
  evaluation: [text.txt]
stages:
  - export: {formats: [gguf]}
  - verify: {context: 32, samples: 0}
"""


@pytest.fixture(scope="module")
def folder_files(tmp_path_factory):
    """A Hugging Face directory, with files that nobody should want."""
    folder = tmp_path_factory.mktemp("model")
    tiny_eval_model.write(folder, bos=True, eos=False)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    return {**files, "README.md": CARD, "pytorch_model.bin": b"pickled", "onnx/model.onnx": b"no", "adapter.safetensors": b"no"}


@pytest.fixture(scope="module")
def gguf(folder_files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    (folder / "hf").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        if name in folder_files:
            (folder / "hf" / name).write_bytes(folder_files[name])
    subprocess.run([BIN / "attar", "export", folder / "hf", "-o", folder / "tiny.gguf", "--quiet"], check=True, capture_output=True)
    return (folder / "tiny.gguf").read_bytes()


@pytest.fixture
def hub(gguf, folder_files):
    with_faults = Hub()
    with_faults.repositories = {
        "org/tiny": Repository({"tiny-Q8_0.gguf": gguf, "README.md": CARD}),
        "org/folder": Repository(folder_files),
        "org/many": Repository({"a/many-F16.gguf": gguf, "many-Q4_K_M.gguf": gguf + b"4", "many-Q8_0.gguf": gguf + b"8", "mmproj-many.gguf": gguf + b"p"}),
        "org/pickled": Repository({"config.json": b"{}", "pytorch_model.bin": b"pickled"}),
        "org/gated": Repository({"tiny.gguf": gguf}, token=TOKEN, gated=True),
        "org/private": Repository({"tiny.gguf": gguf}, token=TOKEN),
    }
    yield with_faults
    with_faults.close()


@pytest.fixture
def home(tmp_path, hub):
    return Home(tmp_path / "hf", hub)


class Home:
    """A Hugging Face home of its own, and the programs that look into it."""

    def __init__(self, path, hub):
        self.path, self.cache = path, path / "hub"
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS", "XDG_CACHE")) and "proxy" not in name.lower()}
        self.environment = {**bare, "HF_HOME": str(path), "HF_ENDPOINT": hub.url}

    def run(self, *command, **variables):
        return subprocess.run([str(word) for word in command], capture_output=True, text=True, env={**self.environment, **variables}, cwd=ROOT)

    def inspect(self, model, *flags, **variables):
        return self.run(BIN / "attar", "inspect", model, *flags, **variables)

    def incomplete(self):
        return [path.name for path in self.cache.rglob("*.incomplete")]

    def blobs(self, repository):
        return sorted(path.name for path in (self.cache / f"models--{repository.replace('/', '--')}" / "blobs").glob("*"))


def works(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(done, code, *words):
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    for word in words:
        assert word in done.stderr, (word, done.stderr)
    assert TOKEN not in done.stderr and "signature" not in done.stderr
