"""Writes the options of the package's functions, signatures and doc strings, out of the fields that the C++ structs list.

    make python-fields        (with --check: says what is stale and changes nothing)

Between `# fields of NAME` and `# end of fields` stand parameters; behind the line `Options:` of the doc string that follows, what they mean.
"""

import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "python" / "attar").glob("*.py"))
PATHS = {"chat_template", "grammar", "log_file", "tasks"}  # texts that name a file
ALSO = {"json_schema": "Path | Mapping[str, Any]", "logit_bias": "Mapping[int | str, float]"}  # what the package takes beside them
OF_PATHS = {"str": "Path", "Texts": "Paths"}
WIDTH = 140


def listed():
    """function -> [(name, annotation, default, help)], from the built modules."""
    sys.path.insert(0, str(ROOT / "build" / "python"))
    from attar import _runtime
    from attar._call import toolkit

    return {**_runtime.fields(), **toolkit().fields()}


def parameter(indent, name, annotation, default):
    if name in PATHS:
        annotation = OF_PATHS[annotation]
    annotation = ALSO.get(name, annotation)
    value = tuple(default) if isinstance(default, list) else default
    return f"{indent}{name}: {annotation} = {str(value) if isinstance(value, bool) else double_quoted(value)},\n"


def double_quoted(value):
    return repr(value).replace("'", '"')


def meaning(indent, name, words):
    lead = f"{indent}{name}: "
    return textwrap.fill(words, WIDTH, initial_indent=lead, subsequent_indent=indent + "    ", break_long_words=False, break_on_hyphens=False) + "\n"


def expanded(source, fields):
    """The source with every listing as `fields` has it."""
    from attar._error import in_python

    def parameters(found):
        indent, name = found[1], found[2]
        return f"{indent}# fields of {name}\n" + "".join(parameter(indent, *field[:3]) for field in fields[name]) + f"{indent}# end of fields\n"

    def with_meanings(found):
        indent, name = found[3], found[2]
        told = "".join(meaning(indent, field, in_python(words)) for field, _, _, words in fields[name])
        return f'{found[1]}{indent}Options:\n{told}{indent}"""'

    source = re.sub(r"^( +)# fields of (\w+)\n(?:.*\n)*?\1# end of fields\n", parameters, source, flags=re.MULTILINE)
    return re.sub(r'(# fields of (\w+)\n(?:(?!"""|^def ).*\n)*?.*"""(?:(?!""").*\n)+?)( +)Options:\n(?:(?!""").*\n)*? +"""', with_meanings, source)


def main():
    fields, stale = listed(), []
    for path in SOURCES:
        before = path.read_text(encoding="utf-8")
        after = expanded(before, fields)
        if after != before:
            stale.append(path.relative_to(ROOT).as_posix())
            if "--check" not in sys.argv:
                path.write_text(after, encoding="utf-8")
    print("\n".join(f"{'stale' if '--check' in sys.argv else 'written'}: {name}" for name in stale) or "the package has every field as it is listed")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
