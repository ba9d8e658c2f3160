"""The programs that the package carries. Beside the package, not in it: they start without it."""

import os
import pathlib
import sys

_FOLDER = pathlib.Path(__file__).absolute().parent / "attar" / "bin"  # not resolved: the build tree has a link to this file


def runtime_program() -> str:
    """Path of attar-run."""
    return os.environ.get("ATTAR_RUN", str(_FOLDER / "attar-run"))


def _become(name: str) -> None:
    # pip:PACKAGE is looked up in the environment whose command this is
    environment = {"VIRTUAL_ENV": sys.prefix, **os.environ}
    os.execve(_FOLDER / name, [name, *sys.argv[1:]], environment)


def main() -> None:
    """The `attar` command."""
    _become("attar")


def main_run() -> None:
    """The `attar-run` command."""
    _become("attar-run")
