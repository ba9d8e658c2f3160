"""The one exception type of Attar, and its messages in Python's words."""

import inspect
import re

_KINDS = {1: "failure", 2: "usage", 3: "input", 4: "gate_missed", 5: "resources", 130: "interrupted"}


class Error(Exception):
    """What went wrong, where, what was expected and got, and what to do about it.

    `kind` is "usage" (a wrong argument or recipe), "input" (a model or text), "resources" (memory, disk), "interrupted" (stopped on
    request, after a checkpoint), "gate_missed" or "failure"; `exit_code` is what the programs end with for it.
    """

    def __init__(self, message: str, exit_code: int = 1, where: str = "", what: str = "", expected: str = "", got: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.exit_code, self.where, self.what, self.expected, self.got, self.hint = exit_code, where, what, expected, got, hint
        self.kind = _KINDS.get(exit_code, "failure")


def error(exit_code: int, where: str, what: str, expected: str = "", got: str = "", hint: str = "") -> Error:
    """Worded as the C++ ones are."""
    message = f"{where}: {what}" if where else what
    details = ", ".join(f"{name} {text}" for name, text in (("expected", expected), ("got", got)) if text)
    message += (f" ({details})" if details else "") + (f"; {hint}" if hint else "")
    return Error(message, exit_code, where, what, expected, got, hint)


def usage(where: str, what: str, expected: str = "", got: str = "", hint: str = "") -> Error:
    """A wrong argument."""
    return error(2, where, what, expected, got, hint)


def from_native(exit_code: int, where: str, what: str, expected: str, got: str, hint: str) -> Error:
    """What the modules throw. `got` and places in files are the user's own words."""
    flag = re.fullmatch(r"--?([a-z-]+)", where)
    place = _keyword(flag[1]) if flag else in_python(where) if re.match(r"-|attar |recipe:", where) else where
    return error(exit_code, place, in_python(what), in_python(expected), got, in_python(hint))


# What the programs call otherwise.
_KEYWORDS = {"task": "tasks", "gate": "gates", "p": "prompt", "n": "max_tokens", "o": "out"}
_VALUE = r"(?: ([A-Z][\w./]*|hf|gguf|compressed-tensors|fast|best|learned|fp32|deployed)\b)?"
_PLACEHOLDERS = {"TEXT", "FILE", "TYPE", "NAME", "MODEL", "OUT", "DIR", "SIZE"}


def in_python(text: str) -> str:
    """A message of the programs in the words of a Python call: `--to TYPE` is to=TYPE, `--resume` is resume=True."""
    text = re.sub(r"^recipe:\d+:\d+: ", "recipe: ", text, flags=re.MULTILINE)  # places in what a dict was written to
    text = re.sub(r"\battar eval\b", "attar.evaluate", text)
    text = re.sub(r"\battar (run|prune|distill|quantize|export|verify|inspect|bench)\b", r"attar.\1", text)
    text = re.sub(r"\b(attar\.\w+) --help\b", r"help(\1)", text)
    text = re.sub(r"(?<![\w-])--no-([a-z][a-z-]*)", lambda found: f"{_keyword(found[1])}=False", text)
    text = re.sub(rf"(?<![\w-])(?:--([a-z][a-z-]*)|-([opn])(?![\w-])){_VALUE}", _argument, text)
    text = re.sub(r"\{(\w+: [\w.]+(?:, \w+: [\w.]+)*)\}", _dict, text)
    text = text.replace("the same command with", "the same call with")
    return re.sub(r"\b(OUT|MODEL|TEACHER|STUDENT)\b(?!=)", lambda found: found[1].lower(), text)


def _keyword(flag: str) -> str:
    return _KEYWORDS.get(flag, flag.replace("-", "_"))


def _argument(found: re.Match[str]) -> str:
    name, value = _keyword(found[1] or found[2]), found[3]
    if value is None:
        return f"{name}=True" if name in _switches() else name
    return f"{name}={value}" if value.split(".")[0] in _PLACEHOLDERS else f'{name}="{value}"'


def _dict(found: re.Match[str]) -> str:
    """{embedding: Q8_0} as Python writes it."""
    entries = (entry.split(": ") for entry in found[1].split(", "))
    return "{" + ", ".join(f'"{key}": ' + (value if re.fullmatch(r"[\d.]+", value) else f'"{value}"') for key, value in entries) + "}"


def _switches() -> set[str]:
    """The keywords of all functions that are True or False."""
    import attar

    functions = [getattr(attar, name) for name in attar.__all__ if inspect.isfunction(getattr(attar, name))]
    return {p.name for function in functions for p in inspect.signature(function).parameters.values() if isinstance(p.default, bool)}


def unknown_keyword(function: str, word: str, known: list[str]) -> Error:
    """With the keyword that was meant, where one is near; else with all of them."""
    from ._runtime import nearest

    near = nearest(word, known)
    hint = f"did you mean `{near}`?" if near else "it knows " + ", ".join(known)
    return usage(f"attar.{function}", f"has no argument `{word}`", hint=hint)
