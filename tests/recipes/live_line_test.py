"""What a terminal shows of a training, however narrow it is."""

import re

import pytest
from on_policy_test import BIN, TEXT, home
from tiny_recipe_test import on_a_terminal

pytestmark = pytest.mark.recipe

__all__ = ["home"]


@pytest.mark.parametrize("columns", [80, 100])
def test_the_live_line_of_a_training_shows_what_matters(home, tmp_path, columns):
    command = [BIN / "attar", "distill", home / "teacher", "--student", home / "student", "--data", TEXT / "tiny_train.txt", "--batch-tokens", 128, "--sequence-tokens", 64]
    for tokens in (20000, 80000, 320000):  # what is left is told from the second second on
        said = on_a_terminal(*command, "--tokens", tokens, "-o", tmp_path / f"{tokens}.gguf", columns=columns)
        lines = [line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9]*[A-Za-z]", "", said)) if line.startswith("distill ")]
        told = [line for line in lines if " left" in line]
        if len(told) > 2:
            break
    assert len(told) > 2 and all(len(line) < columns for line in lines), said
    for line in told:
        assert re.fullmatch(r"distill (?:[━╌]{10} )? *\d+% KL [\d.e-]+, top-1 \d+%, [\d.]+ tokens/s, [\d:]+ left, [\d.]+ [MG]B(?:, .+)?", line), line
        assert line.count("tokens/s") == 1
    assert any("━" in line or "╌" in line for line in told) or columns == 80
