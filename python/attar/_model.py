"""Models and tokenizers in the native runtime; without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, overload

from . import _runtime
from ._call import Path, Texts, checked, local
from ._error import usage
from ._result import Generated, Result

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Message = Mapping[str, str]
"""{"role": "user", "content": ...}, as Hugging Face has them; roles: system, user, assistant, tool."""


def _asked(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a text as the module takes them: a schema as JSON, tokens of biases by name."""
    given = {name: value for name, value in arguments.items() if name != "self"}
    if isinstance(given["json_schema"], Mapping):
        given["json_schema"] = json.dumps(given["json_schema"], ensure_ascii=False)
    if isinstance(given["logit_bias"], Mapping):
        given["logit_bias"] = {str(token): bias for token, bias in given["logit_bias"].items()}
    return given


def _require_texts(name: str, texts: Any) -> None:
    """A str or a list of them: what else can be gone through, or is left out, would be taken for other texts than were meant."""
    if texts is None or isinstance(texts, (bytes, Mapping, PathLike)):
        raise usage(name, "is no text", "a str, or a list of them", repr(texts))


def _batched(tokens: npt.NDArray[np.int32], of_row: Callable[[npt.NDArray[np.int32]], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Row by row: a model reads a row in one pass, and rows change nothing in each other."""
    import numpy as np

    if tokens.ndim == 1:
        return of_row(tokens)
    if len(tokens) > 0:
        return np.stack([of_row(row) for row in tokens])
    of_none = of_row(tokens.reshape(-1))
    return np.empty((*tokens.shape, *of_none.shape[1:]), of_none.dtype)


class Tokenizer:
    """The tokenizer of a model: a GGUF file, a Hugging Face directory, "pip:PACKAGE" or "hf:ORG/NAME"."""

    @checked
    def __init__(self, model: Path) -> None:
        self._native = _runtime.Tokenizer(model=local(model))

    @classmethod
    def _of(cls, native: _runtime.Tokenizer) -> Tokenizer:
        tokenizer = cls.__new__(cls)
        tokenizer._native = native
        return tokenizer

    @checked
    def encode(self, text: str, *, special: bool = False, start: bool = True) -> list[int]:
        """Token ids of a text.

        special: control tokens that the text spells, such as <|im_end|>, are meant; without it they are text.
        start: behind BOS where the tokenizer adds it.
        """
        return self._native.encode(text=text, special=special, start=start)

    @checked
    def decode(self, tokens: npt.ArrayLike, *, special: bool = False) -> str:
        """The text of token ids.

        special: control tokens give their names; without it nothing.
        """
        from ._arrays import ids

        return self._native.decode(ids(tokens), special).decode("utf-8", "replace")

    @checked
    def chat(self, messages: Sequence[Message], *, chat_template: Path = "", special: bool = False) -> list[int]:
        """Token ids of a chat through the model's template, up to where the assistant's words begin.

        chat_template: a file, or chatml, llama3, gemma, phi3 or zephyr, in place of the model's own.
        special: control tokens that the messages spell are meant; without it they are text.
        """
        for message in messages:
            if not isinstance(message, Mapping) or not all(isinstance(value, str) for value in message.values()):
                raise usage("messages", "hold what is no message", '{"role": ..., "content": ...}, both str', repr(message))
        return self._native.chat(messages=[dict(message) for message in messages], chat_template=chat_template, special=special)

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return self._native.vocab_size

    @property
    def bos(self) -> int | None:
        """The id of the token that begins a text."""
        return self._native.bos

    @property
    def eos(self) -> int | None:
        """The id of the token that ends a text."""
        return self._native.eos

    def __len__(self) -> int:
        return self.vocab_size

    def __repr__(self) -> str:
        return f"Tokenizer({self._native.kind}, {self.vocab_size} tokens)"


class Stream(Iterator[str]):
    """A text while a model writes it: an iterator over its pieces, whole characters each.

    `result` is what there is so far, with the stop_reason once the text has ended. The model may be used between two pieces; leave the
    loop when there is enough.
    """

    def __init__(self, native: _runtime.Stream) -> None:
        self._native = native

    def __next__(self) -> str:
        return self._native.next()

    @property
    def result(self) -> Generated:
        """The text so far, its tokens and, at its end, the stop_reason."""
        return Generated(self._native.result())

    def __repr__(self) -> str:
        return f"Stream({self.result!r})"


class Model:
    """A model loaded into the native runtime. Several threads may share one; they take turns.

    model: a GGUF file, a Hugging Face directory, "pip:PACKAGE" or "hf:ORG/NAME".
    numerics: "deployed" (int8 activations, as attar-run does) or "fp32" (the reference).
    kv: keys and values of a deployed model: "f16", or "int8" (half the memory); without it what the file plans, else f16.
    draft: a smaller model with the same vocabulary, which guesses what this one will write: the same texts, sooner where it guesses well.
    threads: 0 for one a core, within the processor quota.
    """

    @checked
    def __init__(self, model: Path, *, numerics: str = "deployed", kv: str = "", draft: Path | None = None, threads: int = 0) -> None:
        self._native = _runtime.Model(model=local(model), numerics=numerics, kv=kv, draft=None if draft is None else local(draft), threads=threads)
        self._name, self._numerics = model, numerics

    @overload
    def generate(self, prompt: str, **options: Any) -> Generated: ...
    @overload
    def generate(self, prompt: list[str] | tuple[str, ...], **options: Any) -> list[Generated]: ...
    @checked  # type: ignore[misc]  # the options of both are the ones below
    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        chat: bool = False,
        system: str = "",
        special: bool = False,
        chat_template: Path = "",
        seed: int = 0,
        prompt_cache: Path = "",
        # fields of generate
        max_tokens: int = 256,
        stop: Texts = (),
        lookup: int = 0,
        grammar: Path = "",
        json_schema: Path | Mapping[str, Any] = "",
        logit_bias: Mapping[int | str, float] = {},
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        repetition_window_tokens: int = 64,
        # end of fields
    ) -> Generated | list[Generated]:
        """Continues `prompt`, or answers it with chat=True or a system message. -> text, tokens, stop_reason; str() of it is the text.

        prompt: of a list of them each is continued, many at once: a list in their order, of what each gives alone.
        chat: the prompt is a user's message, put into the model's chat template.
        system: the system message of a chat.
        special: control tokens that the texts spell, such as <|im_end|>, are meant; without it they are text.
        chat_template: a file, or chatml, llama3, gemma, phi3 or zephyr, in place of the model's own.
        seed: of what is drawn at random.
        prompt_cache: a file that keeps what was read and written: a prompt that begins likewise is gone on with, not read again. Of this model
            alone, or it is refused; the text is the same either way.

        Options:
        max_tokens: most tokens of an answer
        stop: end before one of these texts
        lookup: most tokens guessed at once from the text so far: the answer is the same, sooner where it quotes or repeats; 0 for off
        grammar: what the answer must be, from beginning to end: a file of GBNF, llama.cpp's grammars, or GBNF itself
        json_schema: answer with JSON under this schema: a file, or the schema itself
        logit_bias: added to the logit of a token, named by its id or its text: -1000 for never, above 0 for sooner
        temperature: randomness: 0 takes the likeliest token, 1 samples the model's own distribution
        top_k: sample from the k likeliest tokens; 0 for all
        top_p: sample from the smallest set of tokens with at least this probability; 1 for all
        min_p: drop tokens less likely than min_p times the likeliest
        repetition_penalty: divide the logits of recent tokens by this; 1 for off
        repetition_window_tokens: how many recent tokens the penalty looks at
        """
        arguments = _asked(locals())
        _require_texts("prompt", prompt)
        if not isinstance(prompt, str):
            return [Generated(text) for text in self._native.generate_all(**arguments)]
        stream = self._native.stream(**arguments)
        stream.finish()
        return Generated(stream.result())

    @checked
    def stream(
        self,
        prompt: str,
        *,
        chat: bool = False,
        system: str = "",
        special: bool = False,
        chat_template: Path = "",
        seed: int = 0,
        prompt_cache: Path = "",
        # fields of generate
        max_tokens: int = 256,
        stop: Texts = (),
        lookup: int = 0,
        grammar: Path = "",
        json_schema: Path | Mapping[str, Any] = "",
        logit_bias: Mapping[int | str, float] = {},
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        repetition_window_tokens: int = 64,
        # end of fields
    ) -> Stream:
        """The same text as `generate` gives, with the same options, as an iterator over its pieces: for piece in model.stream("The sea is"): ..."""
        return Stream(self._native.stream(**_asked(locals())))

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return Tokenizer._of(self._native.tokenizer())

    @checked
    def tokenize(self, text: str, *, special: bool = False, start: bool = True) -> list[int]:
        """model.tokenizer.encode(text)."""
        return self.tokenizer.encode(text, special=special, start=start)

    @checked
    def detokenize(self, tokens: npt.ArrayLike) -> str:
        """model.tokenizer.decode(tokens)."""
        return self.tokenizer.decode(tokens)

    @checked
    def score(self, tokens: str | npt.ArrayLike) -> npt.NDArray[np.float64]:
        """log p of each token after those before it, NaN for the first: (n), or of a batch (B, n). A text is tokenized first."""
        from ._arrays import rows

        given = rows(self.tokenize(tokens) if isinstance(tokens, str) else tokens)
        return _batched(given, self._native.score)

    @checked
    def logits(self, tokens: str | npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Logits after each token: (n, V), or of a batch (B, n, V). A text is tokenized first."""
        from ._arrays import rows

        given = rows(self.tokenize(tokens) if isinstance(tokens, str) else tokens)
        return _batched(given, self._native.logits)

    @checked
    def embed(self, texts: str | Sequence[str], *, pooling: str = "mean", normalize: bool = True) -> npt.NDArray[np.float32]:
        """A vector for each text, from the last hidden states: (texts, width), or of one str (width).

        pooling: "mean" of the states of all tokens, or that of the "last".
        normalize: to length 1, so that the product of two vectors is their cosine.
        """
        _require_texts("texts", texts)
        vectors = self._native.embed(texts=texts, pooling=pooling, normalize=normalize)
        return vectors[0] if isinstance(texts, str) else vectors

    @property
    def config(self) -> Result:
        """Sizes of the model: family, vocab_size, width, layers, context_length, parameters, bytes."""
        return Result(self._native.config())

    @property
    def notes(self) -> list[str]:
        """What is not as the model's files say or slower than it could be, a line each."""
        return self._native.notes()

    def __repr__(self) -> str:
        config = self.config
        return f"Model({str(self._name)!r}, {config.family}, {config.parameters / 1e6:.1f} M parameters, {config.bytes / 1e6:.1f} MB, numerics={self._numerics!r})"
