"""A row of the runtime's table: how it is measured, what it must reach, and its line of Markdown."""

import dataclasses
import statistics
import subprocess
from collections.abc import Callable
from typing import Any

COLUMNS = ["", "ours", "peer", "value", "must", "aim"]
WIDTHS = [10, 24, 9, 9, 9]  # of all but the name
UNITS = {"x": (".2f", "x"), "share": (".3f", ""), "ms": (".1f", " ms"), "MB": (".2f", " MB"), "nats": (".5f", "")}  # digits, and what stands behind
SIGNS = {"at least": ">=", "at most": "<="}


class NotMeasured(Exception):
    """Why, in one line."""


@dataclasses.dataclass(frozen=True)
class Measured:
    value: float | None  # None: what it is measured against is missing, as `note` says
    ours: str
    peer: str = ""  # or what else it is measured against
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    measure: Callable[[Any], Measured]  # of what runtime_table.Bench holds
    must: float | None
    aim: float | None
    unit: str = "x"
    limit_is: str = "at least"

    def measured(self, bench):
        """A failure is told in the row; the others go on."""
        try:
            return self.measure(bench)
        except NotMeasured as reason:
            return Measured(None, "", note=str(reason))
        except subprocess.CalledProcessError as error:
            said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
            return Measured(None, "", note=f"failed: {said[-1] if said else error}")
        except (RuntimeError, OSError, LookupError, ValueError, ArithmeticError) as error:
            return Measured(None, "", note=f"failed: {error!r}")

    def met(self, measured):
        """Whether it reaches what it must; None where there is nothing to say."""
        if measured.value is None or self.must is None:
            return None
        return measured.value >= self.must if self.limit_is == "at least" else measured.value <= self.must

    def limit(self, number):
        return "" if number is None else f"{SIGNS[self.limit_is]} {number:g}{UNITS[self.unit][1]}"

    def cells(self, measured):
        digits, behind = UNITS[self.unit]
        value = "" if measured.value is None else f"{measured.value:{digits}}{behind}"
        if self.met(measured) is False:
            value = f"**{value}**"
        return [self.name, measured.ours, measured.note or measured.peer, value, self.limit(self.must), self.limit(self.aim)]


def line(cells, name_width):
    padded = [cell.replace("|", "/").ljust(width) for cell, width in zip(cells, [name_width, *WIDTHS], strict=True)]
    return "| " + " | ".join(padded) + " |"


def in_turn(runs, *measures):
    """The medians of several measurements, each taken once a run."""
    samples = [[measure() for measure in measures] for _ in range(runs)]
    return [statistics.median(column) for column in zip(*samples, strict=True)]
