"""Which folder may include which, read from the code's own #include lines."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent

# folder -> the folders it may include; its own always. Longest prefix wins.
ALLOWED = {
    "runtime/base": [],
    "runtime/formats": ["runtime/base"],
    "runtime": ["runtime/base", "runtime/formats"],
    "runtime/cli": ["runtime", "runtime/base", "runtime/formats"],
    "compress": ["runtime/base", "runtime/formats"],
    "distill": ["compress", "runtime/base", "runtime/formats"],
    "prune": ["compress", "runtime/base", "runtime/formats"],
    "quantize": ["compress", "runtime/base", "runtime/formats"],
    "export": ["quantize", "compress", "runtime/base", "runtime/formats"],
    "recipes": ["export", "quantize", "prune", "distill", "compress", "runtime", "runtime/cli", "runtime/base", "runtime/formats"],
    "python": ["recipes", "export", "quantize", "prune", "distill", "compress", "runtime", "runtime/cli", "runtime/base",
               "runtime/formats"],
}

HEAVY = re.compile(r'#include [<"](torch/|ATen/|c10/|spdlog/|CLI/|nlohmann/|hdf5|H5|yaml-cpp/|pybind11/)')
CHEAP_TENSOR = "#include <ATen/core/Tensor.h>"


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


def test_every_include_is_allowed():
    wrong = []
    for name, text in sources(".h", ".cpp", ".c"):
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
            if HEAVY.match(line) and line.strip() != CHEAP_TENSOR and not name.startswith("python/"):
                wrong.append(f"{name}: {line}")
    assert not wrong, "\n".join(wrong)


def test_no_file_is_longer_than_800_lines():
    long = [f"{name}: {text.count(chr(10))}" for name, text in sources(".h", ".cpp") if text.count("\n") > 800]
    assert not long, "\n".join(long)
