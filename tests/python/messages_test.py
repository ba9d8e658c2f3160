"""What a Python user is told is in Python's words: keywords, not flags; functions, not verbs."""

import re

import pytest
from package_test import ROOT, TEXT, attar, model, teacher, tiny  # noqa: F401

in_python = attar._error.in_python

# What is done wrong, and the whole of what is said; {out} and {gguf} are the test's own.
MISTAKES = [
    (lambda gguf, out: attar.prune(gguf, out, drop_ffn=0.5), "attar.prune: needs text to measure the model on (expected data=TEXT)"),
    (lambda gguf, out: attar.distill(gguf, gguf, out, data=[]), "attar.distill: needs text to learn from (expected data=TEXT)"),
    (lambda gguf, out: attar.quantize(gguf, out, to="Q8_0"), "out: must end in .gguf (expected a GGUF file, got {out})"),
    (lambda gguf, out: attar.quantize(gguf, f"{out}.gguf", to="Q8_0", data=TEXT, train=TEXT), 'attar.quantize: train is for preset="learned" (expected data, or preset="learned")'),
    (
        lambda gguf, out: attar.quantize(gguf, f"{out}.gguf", to="Q8_0", resume=True),
        'resume: nothing is kept of this to go on from (expected data=TEXT, or preset="learned")',
    ),
    (lambda gguf, out: attar.quantize(gguf, f"{out}.gguf", to="Q8_0", imatrix_out=out), "attar.quantize: imatrix_out needs text to measure inputs on (expected data=TEXT)"),
    (lambda gguf, out: attar.export(gguf, out), "out: does not fit the format (expected a file ending in .gguf, got {out})"),
    (
        lambda gguf, out: attar.export(gguf, out, format="hf", to="Q8_0"),
        'to: names the tensor type of a GGUF (expected format="gguf", got Q8_0); add dequantized=True to write the values that its codes stand for',
    ),
    (lambda gguf, out: attar.export(gguf, f"{out}.gguf", dtype="bfloat16"), 'dtype: is for a Hugging Face directory (expected format="hf"); to says the tensor type of a GGUF'),
    (lambda gguf, out: attar.verify(gguf, gguf, data=TEXT, numerics="fp16"), "numerics: is unknown (expected fp32, deployed or both, got fp16)"),
    (lambda gguf, out: attar.verify(gguf, gguf, data=TEXT, context=10**6), "context: is longer than the models' context (expected at most 512, got 1000000)"),
    (lambda gguf, out: attar.evaluate(gguf, data=TEXT, limit=-1), "limit: is negative (expected at least 0, got -1)"),
    (lambda gguf, out: attar.Model(gguf, numerics="int3"), "numerics: is unknown (expected fp32 or deployed, got int3)"),
    (lambda gguf, out: attar.Model(gguf).generate("The", temperature=-1), "temperature: has an impossible value (expected 0 to 100"),
    (lambda gguf, out: attar.Model("pip:llm-smollm3"), None),
    (lambda gguf, out: attar.quantize(gguf, f"{out}.gguf", to="Q8_0", data="a" * 300), "a" * 300 + ": cannot be used: File name too long"),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_messages_name_keywords(number, tiny, tmp_path):  # noqa: F811
    mistake, message = MISTAKES[number]
    with pytest.raises(attar.Error) as caught:
        mistake(tiny["gguf"], str(tmp_path / "out"))
    said = str(caught.value)
    if message:
        assert said.startswith(message.replace("{out}", str(tmp_path / "out"))), said
    assert not re.search(r"(?<!\w)--?[a-z]", said.replace("pip install --no-deps", "").replace(str(tmp_path), "")), said


@pytest.mark.parametrize(
    "programs, python",
    [
        ("add --resume to go on with it, or choose another -o, or delete this folder", "add resume=True to go on with it, or choose another out, or delete this folder"),
        ("--to Q4_0 or Q8_0, or a GGUF of attar quantize", 'to="Q4_0" or Q8_0, or a GGUF of attar.quantize'),
        ("--no-importance makes no use of --imatrix and --calibration", "importance=False makes no use of imatrix and calibration"),
        ("--data TEXT or --tasks FILE.jsonl", "data=TEXT or tasks=FILE.jsonl"),
        ("types by role, such as {embedding: Q8_0}", 'types by role, such as {"embedding": "Q8_0"}'),
        ("run `attar eval --help`", "run `help(attar.evaluate)`"),
        ("a well-known --- rule, 1 -o- 2", "a well-known --- rule, 1 -o- 2"),
    ],
)
def test_words_of_the_programs_in_python(programs, python):
    assert in_python(programs) == python


def test_notes_speak_python_too(teacher, tmp_path):  # noqa: F811
    done = attar.quantize(teacher, tmp_path / "small.gguf", to="Q4_K")
    assert done.fallbacks and not [line for line in done.notes if re.search(r"(?<!\w)--[a-z]", line)]
    assert not [line for line in attar.doctor().advice if "--no-bench" in line]
