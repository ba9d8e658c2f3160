"""The pages that are written out of the programs say what the programs say now."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
ATTAR = ROOT / "build" / "bin" / "attar"


def said(*words):
    return subprocess.run([ATTAR, *words], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "page, made, how",
    [
        ("recipes/CLI.md", lambda: (ROOT / "build/share/doc/attar/attar.md").read_text(), "cp build/share/doc/attar/attar.md recipes/CLI.md"),
        ("recipes/REFERENCE.md", lambda: said("recipes", "reference"), "build/bin/attar recipes reference > recipes/REFERENCE.md"),
    ],
)
def test_a_page_is_as_the_program_writes_it(page, made, how):
    assert (ROOT / page).read_text() == made(), f"{page} is stale: {how}"
