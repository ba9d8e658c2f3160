"""Signatures, doc strings and types of the package say what it takes: every field that the C++ structs list, and nothing else."""

import ast
import inspect
import os
import subprocess
import sys

import pytest
from package_test import PACKAGE, ROOT, attar, model, tiny, usage  # noqa: F401

FUNCTIONS = {name: getattr(attar, name) for name in attar.__all__ if inspect.isfunction(getattr(attar, name))}
METHODS = {f"{owner}.{name}": method for owner in ("Model", "Tokenizer", "Stream") for name, method in vars(getattr(attar, owner)).items() if not name.startswith("_")}


def fields():
    from attar import _runtime
    from attar._call import toolkit

    return {**_runtime.fields(), **toolkit().fields()}


def test_the_listed_options_are_not_stale():
    """When they are: `make python-fields`."""
    done = subprocess.run([sys.executable, ROOT / "python/fields.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_field_is_a_keyword_with_its_default_and_meaning():
    assert {"run", "prune", "quantize", "distill", "export", "evaluate", "generate", "verify"} <= set(fields())
    for name, listed in fields().items():
        function = attar.Model.generate if name == "generate" else FUNCTIONS[name]
        parameters = inspect.signature(function).parameters
        for field, _, default, _ in listed:
            own = parameters[field]
            assert own.kind is inspect.Parameter.KEYWORD_ONLY, (name, field)
            assert (list(own.default) if isinstance(own.default, tuple) else own.default) == default, (name, field)


def test_nothing_is_swallowed_and_everything_explained():
    for name, function in {**FUNCTIONS, **METHODS}.items():
        if isinstance(function, (property, classmethod)):
            assert function.__doc__, name
            continue
        parameters = inspect.signature(function).parameters
        assert function.__doc__, name
        for parameter in parameters.values():
            assert parameter.kind is not inspect.Parameter.VAR_KEYWORD, name
            if parameter.name in ("self", "prompt", "messages", "tokens", "text") or name in ("plan", "inspect", "Model.stream", "Model.tokenize", "Model.detokenize"):
                continue
            assert f"{parameter.name}:" in function.__doc__ or f"{parameter.name}," in function.__doc__, f"{name} says nothing of {parameter.name}"
        flags = [word for word in function.__doc__.split() if word.startswith("--") and word.strip("`.,") != "--json"]
        assert not flags, f"{name} speaks of flags: {flags}"


def test_stream_takes_what_generate_takes():
    generate, stream = (inspect.signature(method).parameters for method in (attar.Model.generate, attar.Model.stream))
    assert list(generate) == list(stream) and all(generate[name].default == stream[name].default for name in generate)


@pytest.mark.parametrize(
    "function, keyword, meant",
    [
        ("distill", "lr", "learning_rate"),
        ("distill", "batch_size", "batch_tokens"),
        ("distill", "temprature", "temperature"),
        ("evaluate", "task", "tasks"),
        ("quantize", "target_sise", "target_size"),
        ("quantize", "type", "to"),
        ("prune", "calibration", "data"),
        ("verify", "gate", "gates"),
        ("run", "resum", "resume"),
        ("bench", "repetition", "repetitions"),
    ],
)
def test_a_mistyped_keyword_gets_the_one_that_was_meant(function, keyword, meant):
    with usage(f"attar.{function}", f"has no argument `{keyword}`", f"did you mean `{meant}`\\?") as caught:
        FUNCTIONS[function]("a", "b", **{keyword: 1})
    assert caught.value.kind == "usage"


def test_a_mistyped_keyword_of_a_model(model):  # noqa: F811
    for call in (model.generate, model.stream):
        with usage(r"attar\.Model\.", "max_new_tokens", "did you mean `max_tokens`"):
            call("The", max_new_tokens=5)
    with usage("nonsense", "it knows", "temperature"):
        model.generate("The", nonsense=1)
    with usage(r"attar\.Model:", "number_of_threads", "did you mean `threads`|it knows model, numerics, kv, draft, threads"):
        attar.Model("x.gguf", number_of_threads=2)


def test_mypy_is_content_with_package_and_examples(tmp_path):
    examples = sorted((ROOT / "python/examples").glob("*.py"))
    assert len(examples) >= 2
    (tmp_path / "wrong.py").write_text(
        "import attar\nattar.distill('a', 'b', 'c', data='d', tokens='many')\nattar.Model('m').generate('x').nothing.at.all\nattar.quantize('a', 'b', too='Q8_0')\n"
    )

    def mypy(*files):
        command = [sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", "--cache-dir", tmp_path / "cache", *files]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "MYPYPATH": str(PACKAGE)})

    done = mypy(*examples)
    assert done.returncode == 0, done.stdout
    package = mypy(*sorted(path for path in (ROOT / "python/attar").glob("*.py")))
    assert package.returncode == 0, package.stdout
    wrong = mypy(tmp_path / "wrong.py").stdout
    assert 'incompatible type "str"; expected "int"' in wrong and 'Unexpected keyword argument "too"' in wrong, wrong


def test_stubs_of_the_modules_say_what_they_have():
    from attar import _runtime
    from attar._call import toolkit

    for module in (_runtime, toolkit()):
        stub = ast.parse((ROOT / f"python/attar/{module.__name__.split('.')[-1]}.pyi").read_text()).body
        named = {node.name: node for node in stub if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        assert set(named) == {name for name in dir(module) if not name.startswith("_")}
        for name, node in named.items():
            if isinstance(node, ast.ClassDef):
                own = {member for member in vars(getattr(module, name)) if not member.startswith("_")}
                assert {member.name for member in node.body if isinstance(member, ast.FunctionDef)} - {"__init__"} == own, name


@pytest.mark.parametrize("example", ["compress.py", "surprise.py"])
def test_examples_run(example, tiny, tmp_path):  # noqa: F811
    arguments = {"compress.py": [tiny["gguf"], tmp_path / "small.gguf", ROOT / "recipes/text/held_out.txt"], "surprise.py": [tiny["gguf"], "The sea is wide and blue."]}
    done = subprocess.run([sys.executable, ROOT / "python/examples" / example, *arguments[example]], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(PACKAGE)})
    assert done.returncode in (0, 4 if example == "compress.py" else 0), done.stderr
    assert {"compress.py": "nats a token", "surprise.py": "bits, expected"}[example] in done.stdout
