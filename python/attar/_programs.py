"""The programs that the package carries."""
import os
import pathlib
import sys

_FOLDER = pathlib.Path(__file__).resolve().parent / "bin"


def runtime_program():
    """Path of attar-run."""
    return os.environ.get("ATTAR_RUN", str(_FOLDER / "attar-run"))


def main():
    """The `attar` command."""
    os.execv(_FOLDER / "attar", ["attar", *sys.argv[1:]])


def main_run():
    """The `attar-run` command."""
    os.execv(_FOLDER / "attar-run", ["attar-run", *sys.argv[1:]])
