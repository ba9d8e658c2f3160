"""What recipes/TUTORIAL.md prints is run, in its order, by a user who has nothing but the build and the pages."""

import pytest
from page_blocks import like_the_root, run_lines, run_python

PAGE = "recipes/TUTORIAL.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return like_the_root(tmp_path_factory.mktemp("tutorial"))


def test_the_ten_steps(folder):
    said = run_lines(PAGE, folder)
    assert "smaller" in said["build/bin/attar report runs/stories runs/smaller"]
    assert (folder / "story.gguf").stat().st_size <= 850_000
    assert len(said['build/bin/attar-run generate story.gguf "One day, a small" -n 30'].split()) > 8


def test_the_same_from_python(folder):
    kl, top1 = (float(number) for number in run_python(PAGE, folder).split("\n")[0].split())
    assert 0 < kl < 1 and top1 > 0.5
