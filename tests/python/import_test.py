"""`import attar` is quick and loads no torch; what runs models needs none."""

import os
import resource
import subprocess
import sys

import pytest
from package_test import PACKAGE, ROOT, attar, tiny  # noqa: F401

# As on a machine where torch is not installed.
WITHOUT_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
"""


def python(code, **options):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(PACKAGE)}, **options)


def test_import_loads_neither_torch_nor_numpy():
    done = python("import sys, attar; print([name for name in ('torch', 'numpy', 'attar._toolkit') if name in sys.modules])")
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_import_is_quick():
    """Python's whole start with it: processor time, which the load of other programs does not change. The best of five."""

    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert python("import attar").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.3


def test_models_run_without_torch(tiny):  # noqa: F811
    code = (
        WITHOUT_TORCH
        + f"""
import attar
model = attar.Model({tiny["gguf"]!r}, numerics="fp32")
assert len(model.generate("The", max_tokens=3, temperature=0).tokens) == 3
assert len(list(model.stream("The", max_tokens=3, temperature=0))) >= 1
assert model.logits("The sea").shape[1] == model.config.vocab_size
assert attar.Tokenizer({tiny["gguf"]!r}).encode("The sea") == model.tokenize("The sea")
assert attar.inspect({tiny["gguf"]!r}).bytes == model.config.bytes
assert attar.doctor().cores >= 1
assert attar.evaluate({tiny["gguf"]!r}, data={str(ROOT / "recipes/text/tiny_held_out.txt")!r}, context=64).text.perplexity > 1
assert attar.bench({tiny["gguf"]!r}, n_prompt=8, n_gen=2, repetitions=1, threads=1).rows[0].n_prompt == 8
assert attar.verify({tiny["gguf"]!r}, {tiny["gguf"]!r}, data={str(ROOT / "recipes/text/held_out.txt")!r}, max_tokens=200, context=64).kl < 1e-6
try:
    attar.quantize({tiny["gguf"]!r}, "never.gguf", to="Q8_0")
except attar.Error as error:
    print(error)
"""
    )
    done = python(code)
    assert done.returncode == 0 and "needs torch 2." in done.stdout and "not installed" in done.stdout, done.stdout + done.stderr


def test_another_torch_is_refused_with_both_versions():
    """By the first call that needs it, not by the import."""
    code = """
import sys, types
sys.modules["torch"] = types.SimpleNamespace(__version__="1.9.0")
import attar
try:
    attar.plan("tiny")
except attar.Error as error:
    print(error)
"""
    said = python(code).stdout
    assert "was built with torch" in said and "finds torch 1.9.0" in said, said


def test_python_m_attar_is_the_program():
    own = subprocess.run([PACKAGE / "attar/bin/attar", "--version"], capture_output=True, text=True).stdout
    for arguments, code in ((["--version"], 0), (["nonsense"], 2)):
        done = subprocess.run([sys.executable, "-m", "attar", *arguments], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(PACKAGE)})
        assert done.returncode == code and (code or done.stdout == own), done.stderr


@pytest.mark.parametrize("first", ["attar.Model(GGUF)", "attar.plan('tiny')"])
def test_both_modules_live_in_one_process_in_any_order(first, tiny):  # noqa: F811
    code = f"""
import attar, torch
GGUF = {tiny["gguf"]!r}
{first}
for missing in (attar.Model, attar.inspect, lambda model: attar.export(model, "x.gguf")):
    try:
        missing("missing.gguf")
    except attar.Error as error:
        assert error.kind == "input" and "does not exist" in str(error), error
attar.plan("tiny"), attar.Model(GGUF).logits([1, 2])
print("both")
"""
    done = python(code)
    assert done.stdout == "both\n", done.stderr[-2000:]
