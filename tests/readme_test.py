"""The README's commands work as printed: its shell block and its Python block are run."""

import re
import subprocess

import pytest
from page_blocks import ROOT, like_the_root, run_lines, run_python


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return like_the_root(tmp_path_factory.mktemp("readme"))


def test_shell_block(folder):
    run_lines("README.md", folder)


def test_python_block(folder):
    run_python("README.md", folder)


def test_every_verb_shows_help_with_examples():
    for program in ("attar", "attar-run"):
        listing = subprocess.run([ROOT / "build/bin" / program, "--help"], capture_output=True, text=True, check=True).stdout
        verbs = re.findall(r"^  ([a-z]+)  ", listing.split("Subcommands:")[-1], re.M)
        assert len(verbs) >= 7
        for verb in verbs:
            help_text = subprocess.run([ROOT / "build/bin" / program, verb, "--help"], capture_output=True, text=True, check=True).stdout
            assert re.search(rf"attar(-run)? {verb}\b", help_text.split("Examples:")[-1]), verb
