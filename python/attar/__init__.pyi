from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch

__version__: str

Path = str | PathLike[str]
Ids = np.ndarray[Any, Any] | torch.Tensor | list[int]
Weights = np.ndarray[Any, Any] | torch.Tensor | list[float]
Progress = Callable[[dict[str, Any]], bool | None]

class Error(Exception):
    exit_code: int
    where: str
    what: str
    expected: str
    got: str
    hint: str
    def __init__(
        self,
        message: str,
        exit_code: int = 1,
        where: str = "",
        what: str = "",
        expected: str = "",
        got: str = "",
        hint: str = "",
    ) -> None: ...

class Model:
    def __init__(self, model: Path, numerics: str = "deployed", threads: int = 0) -> None: ...
    def generate(
        self,
        prompt: str,
        *,
        chat: bool = False,
        system: str = "",
        special: bool = False,
        chat_template: Path = "",
        on_text: Callable[[str], bool | None] | None = None,
        max_tokens: int = 256,
        seed: int = 0,
        stop: str | list[str] = [],
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        repetition_window_tokens: int = 64,
    ) -> str: ...
    def tokenize(self, text: str, special: bool = False, start: bool = True) -> list[int]: ...
    def detokenize(self, tokens: Ids) -> str: ...
    def score(self, tokens: str | Ids) -> np.ndarray[Any, np.dtype[np.float64]]: ...
    def logits(self, tokens: Ids) -> np.ndarray[Any, np.dtype[np.float32]]: ...
    @property
    def config(self) -> dict[str, Any]: ...

def run(
    recipe: Path, *overrides: str, out: Path = "", resume: bool = False, threads: int = 0, log_file: Path = "", log_level: str = "info", progress: Progress | None = None
) -> dict[str, Any]: ...
def plan(recipe: Path, *overrides: str) -> dict[str, Any]: ...
def prune(model: Path, out: Path, *, data: Path | Iterable[Path] = (), force: bool = False, progress: Progress | None = None, **options: Any) -> dict[str, Any]: ...
def quantize(
    model: Path, out: Path, *, data: Path | Iterable[Path] = (), train: Path | Iterable[Path] = (), force: bool = False, progress: Progress | None = None, **options: Any
) -> dict[str, Any]: ...
def distill(teacher: Path, student: Path, out: Path, *, data: Path | Iterable[Path], force: bool = False, progress: Progress | None = None, **options: Any) -> dict[str, Any]: ...
def export(
    model: Path,
    out: Path,
    *,
    format: str = "gguf",
    to: str = "",
    dtype: str = "",
    dequantized: bool = False,
    split_size: str = "",
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]: ...
def evaluate(model: Path, *, data: Path | Iterable[Path] = (), tasks: Path | Iterable[Path] = (), progress: Progress | None = None, **options: Any) -> dict[str, Any]: ...
def verify(
    teacher: Path,
    student: Path,
    *,
    data: Path | Iterable[Path],
    gates: Mapping[str, float] | None = None,
    bench: bool = False,
    threads: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Any]: ...
def with_tensors(model: Path, tensors: Mapping[str, Weights], out: Path, *, force: bool = False) -> None: ...
def doctor() -> dict[str, Any]: ...
