"""The stub of the package says what the module has."""

import ast
import inspect

from package_test import PACKAGE, attar, model, tiny, usage  # noqa: F401


def stub_signatures():
    """name -> {parameter: (kind, has a default)} of every function and method of the stub."""

    def of(function):
        a = function.args
        plain = [*a.posonlyargs, *a.args]
        defaults = [False] * (len(plain) - len(a.defaults)) + [True] * len(a.defaults)
        found = {argument.arg: ("plain", default) for argument, default in zip(plain, defaults, strict=True)}
        found |= {argument.arg: ("keyword", default is not None) for argument, default in zip(a.kwonlyargs, a.kw_defaults, strict=True)}
        return found | ({a.vararg.arg: ("*", False)} if a.vararg else {}) | ({a.kwarg.arg: ("**", False)} if a.kwarg else {})

    found = {}
    for node in ast.parse((PACKAGE / "attar/__init__.pyi").read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = of(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{method.name}": of(method) for method in node.body if isinstance(method, ast.FunctionDef)}
    return found


def real_signature(function):
    kinds = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.KEYWORD_ONLY: "keyword"}
    return {name: (kinds.get(parameter.kind, "plain"), parameter.default is not inspect.Parameter.empty) for name, parameter in inspect.signature(function).parameters.items()}


def test_stubs_say_what_the_module_has(model):  # noqa: F811
    stubs = stub_signatures()
    classes = {"Error": ["__init__"], "Model": ["__init__", *(name for name in vars(attar.Model) if not name.startswith("_"))]}
    real = {name: getattr(attar, name) for name in attar.__all__ if inspect.isfunction(getattr(attar, name))}
    real |= {f"{owner}.{name}": vars(getattr(attar, owner))[name] for owner, names in classes.items() for name in names}
    assert set(stubs) == set(real)
    for name, function in real.items():
        function = function.fget if isinstance(function, property) else function
        expected, stub = real_signature(function), dict(stubs[name])
        if expected.pop("options", None) and not stub.pop("options", None):  # the stub lists the options one by one
            listed = {key: stub.pop(key) for key in list(stub) if key not in expected}
            assert listed and all(entry == ("keyword", True) for entry in listed.values())
            for key in listed:  # and each is one
                with usage(key, "has another type"):
                    model.generate("The", **{key: object()})
        assert stub == expected, name
