"""--log-file and --log-level of the verbs that work on files; those of a run are tested in tiny_recipe_test.py."""

import pathlib
import re
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from bad_input_test import TEXT, tiny
from conftest import BIN

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("models") / "tiny")


def attar(*arguments):
    return subprocess.run([str(BIN / "attar"), *map(str, arguments), "--quiet"], capture_output=True, text=True)


@pytest.mark.parametrize(
    "command",
    [
        ["prune", "MODEL", "-o", "OUT", "--drop-layers", "1", "--data", TEXT, "--calibration-tokens", "200"],
        ["distill", "MODEL", "--student", "MODEL", "-o", "OUT", "--data", TEXT, "--tokens", "40", "--batch-tokens", "40"],
        ["quantize", "MODEL", "-o", "OUT", "--to", "Q4_K"],
        ["export", "MODEL", "-o", "OUT", "--to", "Q8_0"],
        ["eval", "MODEL", "--data", TEXT, "--context", "64"],
    ],
)
def test_the_log_has_the_command_and_how_it_ended(model, tmp_path, command):
    log = tmp_path / "log.txt"
    words = [{"MODEL": model, "OUT": tmp_path / "out.gguf"}.get(word, word) for word in command]
    done = attar(*words, "--log-file", log)
    assert done.returncode == 0, done.stderr
    first, *_, last = log.read_text(encoding="utf-8").splitlines()
    assert re.search(rf" I Attar \S+: \S*attar {command[0]} ", first) and last.endswith(" I done")


def test_a_log_is_added_to_a_log_and_to_nothing_else(model, tmp_path):
    """A slip of the hand was appended to: a model, a text."""
    weights, text, log = tmp_path / "weights.gguf", tmp_path / "text.txt", tmp_path / "log.txt"
    assert attar("export", model, "-o", weights, "--log-file", log).returncode == 0
    text.write_text("2024 was a year.\n")
    for other in (weights, text):
        before = other.read_bytes()
        done = attar("export", weights, "-o", tmp_path / "out.gguf", "--to", "Q8_0", "--log-file", other)
        assert done.returncode == 2 and f"{other}: holds something else than a log" in done.stderr, done.stderr
        assert other.read_bytes() == before and not (tmp_path / "out.gguf").exists()
    assert attar("export", weights, "-o", tmp_path / "out.gguf", "--to", "Q8_0", "--log-file", log).returncode == 0
    assert log.read_text().count(" I done") == 2


def test_the_level_says_what_the_log_takes(model, tmp_path):
    log, out = tmp_path / "log.txt", tmp_path / "out.gguf"
    assert attar("quantize", model, "-o", out, "--to", "Q4_K", "--log-file", log, "--log-level", "warning").returncode == 0
    said = log.read_text(encoding="utf-8")
    assert " I " not in said and " W quantize: blk.0.attn_q.weight: Q4_K -> Q5_0 (" in said
    loud = attar("quantize", model, "-o", out, "--to", "Q4_K", "--log-file", log, "--log-level", "loud")
    assert loud.returncode == 2 and "debug, info, warning or off" in loud.stderr
    assert attar("quantize", model, "-o", out, "--to", "nonsense", "--log-file", log).returncode == 2
    assert re.search(r" W stopped: .*nonsense", log.read_text(encoding="utf-8").splitlines()[-1])
