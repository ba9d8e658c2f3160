"""The files that are measured: made by `attar` where they are not there yet, or are older than what they are made of."""

import pathlib
import subprocess
import sys
import tempfile

import pytest
from table_row import NotMeasured

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "oracle"))
from conftest import ROOT, smollm2

TEXT = ROOT / "recipes/text/tiny_train.txt"
# SmolLM2 without them has 30.7 million parameters: six layers of 3.54, and 16,384 tokens of 576.
NANO = ["--drop-layers", "24", "--keep-vocab", "16384", "--data", str(TEXT), "--calibration-tokens", "200"]


class BenchModels:
    """By origin: smollm2 (as packaged), nano (cut from it), padded and large (files that the user gives)."""

    def __init__(self, attar, folder, given):
        self.attar, self.folder, self.given = str(attar), pathlib.Path(folder), given
        self.folder.mkdir(parents=True, exist_ok=True)

    def original(self, origin):
        if origin == "smollm2":
            try:
                return pathlib.Path(smollm2())
            except pytest.skip.Exception as reason:
                raise NotMeasured(str(reason)) from reason
        if origin == "nano":
            return self.made("nano-F16.gguf", "prune", self.original("smollm2"), NANO)
        if not self.given.get(origin):
            raise NotMeasured(f"needs --{origin} F16.gguf")
        return pathlib.Path(self.given[origin])

    def quantized(self, origin, to):
        """In a tensor type, or as a preset of llama.cpp says."""
        return self.made(f"{origin}-{to}.gguf", "quantize", self.original(origin), ["--to", to, "--preset", "fast"])

    def made(self, name, verb, original, options):
        path = self.folder / name
        if path.exists() and path.stat().st_mtime >= original.stat().st_mtime:
            return path
        print(f"making {path}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as aside:  # with whatever a broken run leaves
            written = pathlib.Path(aside) / name
            subprocess.run([self.attar, verb, str(original), "-o", str(written), *options, "--quiet"], check=True, capture_output=True)
            written.replace(path)
        return path
