"""What every function of the package goes through: keywords checked, the toolkit loaded when it is first needed."""

from __future__ import annotations

import functools
import importlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from ._error import error, in_python, unknown_keyword
from ._result import Result

Path = str | PathLike[str]
Paths = Path | Iterable[Path]
Texts = str | Iterable[str]
Progress = Callable[[Result], bool | None]
"""Called with each event, {stage, unit, done, total, metrics, message}; False stops the call."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def checked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """`function`, which refuses a keyword that it does not have with the one that was meant."""
    code = function.__code__
    known = [name for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if name != "self"]

    @functools.wraps(function)
    def call(*args: _P.args, **keywords: _P.kwargs) -> _R:
        for name in keywords:
            if name not in known:
                raise unknown_keyword(function.__qualname__.replace(".__init__", ""), name, known)
        return function(*args, **keywords)

    return call


@functools.cache
def toolkit() -> ModuleType:
    """The module over the whole toolkit, which brings torch with it (2 s)."""
    try:
        importlib.import_module("attar._libtorch")  # before the module that links it
    except ImportError as reason:
        raise error(1, "attar", "the toolkit does not load", hint=str(reason)) from reason
    from . import _toolkit

    return _toolkit


def local(model: Path) -> Path:
    """A model of the Hugging Face hub as a path, once it lies here: that takes the toolkit. Any other as it is."""
    if not str(model).startswith("hf:"):
        return model
    path: str = toolkit().hub_path(model=str(model), progress=None)
    return path


def call(function: Callable[..., str], arguments: Mapping[str, Any]) -> Any:
    """The JSON that a module's function answers keywords with; what it says to people in Python's words."""
    document = json.loads(function(**native(arguments)))
    for key in ("notes", "advice"):
        if key in document:
            document[key] = [in_python(line) for line in document[key]]
    return document


def native(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as the modules take them."""
    given = dict(arguments)
    if "progress" in given:
        progress = given["progress"]
        if progress is None:
            given["progress"] = _log
        elif callable(progress):
            given["progress"] = lambda event: progress(Result(event))
    return given


def _log(event: Mapping[str, Any]) -> None:
    if event["message"]:
        logging.getLogger("attar").warning("%s: %s", event["stage"], in_python(event["message"]))
