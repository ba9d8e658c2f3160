"""Which folder may include which, read from the code's own #include lines."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent

BASE = ["runtime/base"]
CONTAINERS = [*BASE, "runtime/formats/blocks", "runtime/formats/container"]
JINJA = ["runtime/formats/tokenizer", "runtime/formats/jinja/values", "runtime/formats/jinja/syntax"]
FORMATS = [*CONTAINERS, "runtime/formats/tokenizer", "runtime/formats/jinja", "runtime/formats"]
MODEL = [*FORMATS, "runtime/kernels", "runtime/model"]
RUNTIME = [*MODEL, "runtime/text", "runtime/judge"]
TOOLKIT = [*FORMATS, "compress", "distill", "prune", "quantize", "export"]
SCHEMA = TOOLKIT + RUNTIME + ["runtime/cli", "recipes/schema"]
RUN = [*SCHEMA, "recipes/data", "recipes/report", "recipes/run"]
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
    "runtime/text": [*MODEL, "runtime/judge"],
    "runtime": RUNTIME,  # the C library
    "runtime/cli": RUNTIME,
    "compress": FORMATS,
    "distill": [*FORMATS, "compress"],
    "prune": [*FORMATS, "compress"],
    "quantize": [*FORMATS, "compress"],
    "export": [*FORMATS, "compress", "quantize"],
    "recipes/schema": SCHEMA,
    "recipes/data": SCHEMA,
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


def sources(*suffixes):
    for top in sorted({folder.split("/")[0] for folder in ALLOWED}):
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


def test_no_file_is_longer_than_800_lines():
    long = [f"{name}: {text.count(chr(10))}" for name, text in sources(".h", ".cpp") if text.count("\n") > 800]
    assert not long, "\n".join(long)
