"""Which folder may include which, read from the code's own #include lines."""

import ast
import collections
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent

BASE = ["runtime/base"]
CONTAINERS = [*BASE, "runtime/formats/blocks", "runtime/formats/container"]
JINJA = ["runtime/formats/tokenizer", "runtime/formats/jinja/values", "runtime/formats/jinja/syntax"]
FORMATS = [*CONTAINERS, "runtime/formats/tokenizer", "runtime/formats/jinja", "runtime/formats"]
MODEL = [*FORMATS, "runtime/kernels", "runtime/model"]
GRAMMAR = [*FORMATS, "runtime/text/grammar", "runtime/text/grammar/schema"]
RUNTIME = [*MODEL, *GRAMMAR, "runtime/text", "runtime/judge"]
TOOLKIT = [*FORMATS, "compress", "distill", "prune", "quantize", "export"]
SCHEMA = TOOLKIT + RUNTIME + ["runtime/cli", "recipes/hub", "recipes/schema"]
RUN = [*SCHEMA, "recipes/endpoint", "recipes/data", "recipes/arms", "recipes/report", "recipes/run"]
RECIPES = [*RUN, "recipes/commands"]

# room -> the rooms it may include; its own always. Longest prefix wins.
ALLOWED = {
    "runtime/base": [],
    "runtime/formats/blocks": BASE,
    "runtime/formats/container": CONTAINERS,
    "runtime/formats/tokenizer": CONTAINERS,
    "runtime/formats/jinja": CONTAINERS + JINJA,
    "runtime/formats/jinja/values": [*CONTAINERS, "runtime/formats/tokenizer"],
    "runtime/formats/jinja/syntax": [*CONTAINERS, "runtime/formats/tokenizer", "runtime/formats/jinja/values"],
    "runtime/formats": FORMATS,
    "runtime/kernels": FORMATS,
    "runtime/model": MODEL,
    "runtime/judge": MODEL,
    "runtime/text": [*MODEL, *GRAMMAR, "runtime/judge"],
    "runtime/text/grammar": GRAMMAR,
    "runtime/text/grammar/schema": GRAMMAR,
    "runtime": RUNTIME,  # the C library's header
    "runtime/c_api": [*RUNTIME, "runtime"],
    "runtime/cli": RUNTIME,
    "compress": FORMATS,
    "distill": [*FORMATS, "compress"],
    "prune": [*FORMATS, "compress"],
    "quantize": [*FORMATS, "compress"],
    "export": [*FORMATS, "compress", "quantize"],
    "recipes/net": BASE,
    "recipes/endpoint": [*BASE, "recipes/net"],
    "recipes/hub": [*FORMATS, "recipes/net"],
    "recipes/schema": SCHEMA,
    "recipes/data": [*SCHEMA, "recipes/endpoint"],
    "recipes/arms": [*SCHEMA, "recipes/data"],
    "recipes/report": RUNTIME,
    "recipes/run": RUN,
    "recipes/commands": RUN,
    "recipes/cli": RECIPES,
    "recipes": [],
    "python": RECIPES,
}

HEAVY = re.compile(r'#include [<"](torch/|ATen/|c10/|spdlog/|CLI/|nlohmann/|hdf5|H5|yaml-cpp/|pybind11/)')
CHEAP = {"#include <ATen/core/Tensor.h>", "#include <nlohmann/json_fwd.hpp>"}


def folder_of(path):
    parts = pathlib.PurePosixPath(path).parts[:-1]
    while parts and "/".join(parts) not in ALLOWED:
        parts = parts[:-1]
    return "/".join(parts)


TOPS = sorted({folder.split("/")[0] for folder in ALLOWED})


def sources(*suffixes, tops=TOPS):
    for top in tops:
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in suffixes:
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_every_room_holds_sources():
    """What the other tests look at is there."""
    seen = {folder_of(name) for name, _ in sources(".h", ".cpp", ".c", ".inc")}
    assert seen == set(ALLOWED) - {"recipes"}, seen ^ set(ALLOWED)


def test_every_room_says_what_it_is_and_how_to_add_to_it():
    rooms = {str(pathlib.PurePosixPath(name).parent) for name, _ in sources(".h", ".cpp", ".c")} - {"python/attar"}
    lacking = []
    for room in sorted(rooms):
        readme = ROOT / room / "README.md"
        text = readme.read_text(encoding="utf-8") if readme.exists() else ""
        lacking += [f"{room}/README.md: {heading}" for heading in ("# ", "## The path of the data", "## To add") if f"\n{heading}" not in f"\n{text}"]
    assert not lacking, "\n".join(lacking)


def test_every_include_is_allowed():
    wrong = []
    for name, text in sources(".h", ".cpp", ".c", ".inc"):
        own = folder_of(name)
        for included in re.findall(r'#include "([^"]+)"', text):
            target = folder_of(included)
            if target and target != own and target not in ALLOWED[own]:
                wrong.append(f"{name} includes {included}")
    assert not wrong, "\n".join(wrong)


def test_headers_are_cheap():
    wrong = []
    for name, text in sources(".h"):
        for line in text.splitlines():
            if HEAVY.match(line) and line.strip() not in CHEAP and not name.startswith("python/"):
                wrong.append(f"{name}: {line}")
    assert not wrong, "\n".join(wrong)


def functions(name, text):
    """(name, lines) of each function; in Python without the doc string, which lists the options of a stage; in C++ as
    clang-format lays it out: from a line that opens a body to the brace below its first letter."""
    if name.endswith(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                said = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0
                yield node.name, node.end_lineno - node.lineno + 1 - said
        return
    for found in re.finditer(r"^( *)(?!namespace|extern)(\w[^\n;]*\([^;{]*\{)\n(?:.*\n)*?\1\}", text, re.MULTILINE):
        yield found[2].splitlines()[0], found[0].count("\n") + 1


def test_files_and_functions_are_short():
    long = []
    for name, text in sources(".h", ".cpp", ".c", ".inc", ".py", tops=[*TOPS, "tests"]):
        if (lines := text.count("\n")) > 500:
            long.append(f"{name}: {lines} lines")
        long += [f"{name}: {function}: {lines} lines" for function, lines in functions(name, text) if lines > 80]
    assert not long, "\n".join(long)


def test_no_folder_is_crowded():
    counts = collections.Counter(str(pathlib.PurePosixPath(name).parent) for name, _ in sources(".h", ".cpp", tops=[*TOPS, "tests"]))
    crowded = {folder: count for folder, count in counts.items() if count > 24}
    assert not crowded, crowded
