"""Recipes: run and plan; doctor."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from . import _runtime
from ._call import Path, Progress, call, checked, native, toolkit
from ._error import usage
from ._result import Result, Run

Recipe = Path | Mapping[str, Any]


def _plain(value: Any) -> Any:
    """Paths, and what NumPy has for numbers and lists of them, as JSON knows them."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(repr(value))


def _recipe(recipe: Recipe) -> dict[str, Any]:
    """A file, or a dict as text: JSON is YAML."""
    if not isinstance(recipe, Mapping):
        return {"recipe": recipe}
    try:
        return {"recipe": "recipe", "text": json.dumps(recipe, indent=1, ensure_ascii=False, default=_plain)}
    except TypeError as reason:
        raise usage("recipe", "holds what a recipe cannot", "texts, numbers, True or False, lists, dicts, paths", str(reason)) from None


@checked
def run(
    recipe: Recipe,
    *overrides: str,
    out: Path = "",
    resume: bool = False,
    # fields of run
    log_file: Path = "",
    log_level: str = "info",
    # end of fields
    threads: int = 0,
    progress: Progress | None = None,
) -> Run:
    """Runs a recipe. -> its folder, the files that it made, whether the gates passed, and the report: run(...).report.verify.kl

    recipe: a file (.yaml), or a dict of the same keys, whose paths start at the current folder; with resume the folder of a run.
    overrides: changes such as "seed=3" or "stages.distill.tokens=1000".
    out: the run's folder; runs/NAME without it.
    resume: go on with the run that the folder holds, where Ctrl-C, an exception of `progress` or a crash left it.
    threads, progress: as everywhere (help(attar)).

    Options:
    log_file: write what happens to this file, a line each with its time; a run has log.txt without it
    log_level: what the log takes: debug (every progress event too), info (stages, caches, checkpoints, memory), warning (fallbacks and
        notes alone), off
    """
    arguments = {name: value for name, value in locals().items() if name != "recipe"} | _recipe(recipe)
    result = toolkit().run(**native(arguments))
    return Run({**result, "report": json.loads(result["report"])})


@checked
def plan(recipe: Recipe, *overrides: str) -> Result:
    """What a run would do, stage by stage, with estimates of time, memory and disk. Arguments as in `run`."""
    return Result(call(toolkit().plan, {**_recipe(recipe), "overrides": overrides}))


def doctor() -> Result:
    """What this machine has and lacks; without torch."""
    return Result(call(_runtime.doctor, {}))
