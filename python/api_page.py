"""Writes python/API.md: the package's functions and classes, out of their signatures and doc strings.

make python-fields        (python python/api_page.py > python/API.md)
"""

import inspect
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
KINDS = [  # what stands together; every name of attar.__all__ but the version, once
    ("A recipe, or one stage of it", ["run", "plan", "prune", "distill", "quantize", "export", "with_tensors"]),
    ("Judging", ["verify", "evaluate", "bench", "inspect", "doctor"]),
    ("Models", ["Model", "Tokenizer", "Stream"]),
    ("What they return, and raise", ["Result", "Generated", "Verification", "Report", "Run", "Error"]),
]
ARGUMENT = re.compile(r"((?:\w+)(?:, \w+)*): +(.*)")


def package():
    sys.path.insert(0, str(ROOT / "build" / "python"))
    import attar

    return attar


def told(doc):
    """A doc string as prose, and the meanings of arguments by name: lines `name: ...` or `name, name: ...`, with those indented below."""
    prose, meanings, names = [], {}, ()
    for line in inspect.cleandoc(doc).split("\n"):
        found = ARGUMENT.fullmatch(line)
        if line == "Options:":
            continue
        if found and prose:  # the first line says what it is
            names = found[1].split(", ")
            meanings.update(dict.fromkeys(names, found[2]))
        elif names and line.startswith("    "):
            meanings.update({name: f"{meanings[name]} {line.strip()}" for name in names})
        else:
            names = ()
            prose.append(line)
    return "\n".join(prose).strip(), meanings


def cell(text):
    return text.replace("|", "\\|")


def in_code(text):
    return f"`{text}`" if text else ""


def annotation(of):
    return of if isinstance(of, str) else getattr(of, "__name__", str(of))


def arguments(signature, meanings):
    """The table of the arguments, where there are some to explain."""
    if not meanings:
        return []
    lines = ["| argument | type | default | |", "| --- | --- | --- | --- |"]
    for name, parameter in signature.parameters.items():
        if name == "self":
            continue
        default = "" if parameter.default is parameter.empty else repr(parameter.default).replace("'", '"')
        starred = "*" + name if parameter.kind is parameter.VAR_POSITIONAL else name
        lines.append(f"| `{starred}` | {in_code(cell(annotation(parameter.annotation)))} | {in_code(cell(default))} | {cell(meanings.get(name, ''))} |")
    return [*lines, ""]


def called(name, signature):
    """quantize(model, out, *, ...) -> Result: what may stand without its name, and whether more may follow."""
    shown, more = [], False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty:
            more = True
        elif parameter.kind is parameter.VAR_POSITIONAL:
            shown.append("*" + parameter.name)
        else:
            shown.append(f"{parameter.name}=..." if parameter.kind is parameter.KEYWORD_ONLY else parameter.name)
    returned = "" if signature.return_annotation in (signature.empty, "None", None) else f" -> {annotation(signature.return_annotation)}"
    return f"`{name}({', '.join([*shown, *(['option=...'] if more else [])])}){returned}`"


def function(heading, name, of):
    signature = inspect.signature(of)
    prose, meanings = told(of.__doc__)
    return [f"{heading} {called(name, signature)}", "", prose, "", *arguments(signature, meanings)]


def members(of):
    """Methods and properties of a class itself that are for users, in the order of the source."""
    for name, member in vars(of).items():
        if not name.startswith("_") and getattr(member, "__doc__", None):
            yield name, member


def class_of(name, of):
    prose, meanings = told(of.__doc__)
    constructor = inspect.signature(of) if hasattr(vars(of).get("__init__"), "__wrapped__") else None  # what users call is checked
    lines = [f"### {called(name, constructor) if constructor else f'`{name}`'}", "", prose, "", *(arguments(constructor, meanings) if constructor else [])]
    for member_name, member in members(of):
        if isinstance(member, property):
            lines += [f"#### `.{member_name}` : `{annotation(inspect.signature(member.fget).return_annotation)}`", "", member.__doc__, ""]
        elif inspect.isfunction(member):
            lines += function("####", f".{member_name}", member)
    return lines


def page(attar):
    lines = [
        "# The Python package",
        "",
        "Written out of the signatures and doc strings by `make python-fields`; `help(attar.quantize)` says the same. `python/README.md` says how it is made.",
        "",
        "```text",
        inspect.cleandoc(attar.__doc__),
        "```",
        "",
        "`Path` is a str or an `os.PathLike`, `Paths` one or several of them, `Texts` one or several str, `Progress` a function of one event; `Recipe` a `Path` or a dict.",
        "",
    ]
    for heading, names in KINDS:
        lines += [f"## {heading}", ""]
        for name in names:
            of = getattr(attar, name)
            lines += class_of(name, of) if inspect.isclass(of) else function("###", f"attar.{name}", of)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page(package()))
