"""The pages that are written out of the programs say what the programs say now."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
ATTAR = ROOT / "build" / "bin" / "attar"


def said(*words):
    return subprocess.run([ATTAR, *words], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "page, made, how",
    [
        ("recipes/CLI.md", lambda: (ROOT / "build/share/doc/attar/attar.md").read_text(), "cp build/share/doc/attar/attar.md recipes/CLI.md"),
        ("python/API.md", lambda: subprocess.run([sys.executable, ROOT / "python/api_page.py"], capture_output=True, text=True, check=True).stdout, "make python-fields"),
        ("recipes/REFERENCE.md", lambda: said("recipes", "reference"), "build/bin/attar recipes reference > recipes/REFERENCE.md"),
    ],
)
def test_a_page_is_as_the_program_writes_it(page, made, how):
    assert (ROOT / page).read_text() == made(), f"{page} is stale: {how}"


def test_the_page_of_the_package_has_every_name_once():
    sys.path.insert(0, str(ROOT / "python"))
    import api_page

    attar = api_page.package()
    listed = [name for _, names in api_page.KINDS for name in names]
    assert sorted(listed) == sorted(set(attar.__all__) - {"__version__"})
    page = (ROOT / "python/API.md").read_text()
    for function in (attar.run, attar.quantize, attar.distill, attar.verify, attar.Model.generate):
        for keyword in function.__wrapped__.__kwdefaults__:
            assert f"| `{keyword}` |" in page, keyword


def test_an_argument_stands_by_its_name_and_a_flag_where_it_is_taken():
    page = (ROOT / "build/share/doc/attar/attar.md").read_text()
    generate = page.split("\n## attar generate\n")[1].split("\n## ")[0]
    assert "| `PROMPT` |" in generate and generate.count("`-p, --prompt TEXT`") == 1
    recipes, new = page.split("\n## attar recipes\n")[1].split("\n### attar recipes new\n")
    assert "| `--teacher TEXT` |" in new and "| `--teacher TEXT` |" not in recipes
    assert subprocess.run([ATTAR, "recipes", "--teacher", "x"], capture_output=True).returncode == 2
