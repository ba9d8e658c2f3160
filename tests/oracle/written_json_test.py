"""What SmolLM2 writes under a JSON Schema, judged by the jsonschema package; and under GBNF, by a regular expression."""

import json
import re
import subprocess

import jsonschema
import pytest
from conftest import program, smollm2

pytestmark = pytest.mark.parity

SCHEMAS = {
    "person": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 2, "maxLength": 24},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "email": {"type": "string", "format": "email"},
            "married": {"type": ["boolean", "null"]},
        },
        "required": ["name", "age", "married"],
        "additionalProperties": False,
    },
    "shopping": {
        "type": "array",
        "minItems": 2,
        "maxItems": 4,
        "items": {
            "type": "object",
            "properties": {"item": {"enum": ["apples", "bread", "tea", 'a "pie"']}, "price": {"type": "number", "minimum": 0, "exclusiveMaximum": 100}},
            "required": ["item", "price"],
        },
    },
    "tree": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"word": {"type": "string", "maxLength": 10}, "below": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 1}},
                "required": ["word"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    "event": {
        "oneOf": [
            {"type": "object", "properties": {"kind": {"const": "meeting"}, "on": {"type": "string", "format": "date"}}, "required": ["kind", "on"]},
            {
                "type": "object",
                "properties": {"kind": {"const": "call"}, "number": {"type": "string", "pattern": r"^\+\d{1,3} \d{4,9}$"}},
                "required": ["kind", "number"],
            },
        ]
    },
    "scores": {
        "type": "object",
        "properties": {"of": {"type": "array", "prefixItems": [{"type": "string", "maxLength": 8}, {"type": "integer", "minimum": -5, "maximum": 5}], "minItems": 2}},
        "required": ["of"],
        "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 9},
    },
}


def written(*flags):
    done = subprocess.run([program("attar-run"), "generate", smollm2(), "Write an example.", "--system", "You answer with JSON.", "--json", *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_written_is_valid(name):
    schema = SCHEMAS[name]
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    texts, whole = set(), 0
    for seed in range(4):
        flags = ["--temperature", "1.0", "--seed", str(seed), "-n", "400", *(["--top-k", "0", "--top-p", "1"] if seed % 2 else [])]
        out = written("--json-schema", json.dumps(schema), *flags)
        texts.add(out["text"])
        if out["stop_reason"] == "end_of_text":  # a list or tree may go on past 400 tokens
            validator.validate(json.loads(out["text"]))
            whole += 1
        if seed == 0:
            assert written("--json-schema", json.dumps(schema), *flags, "--lookup", "8")["tokens"] == out["tokens"]
    assert len(texts) == 4 and whole >= 3, texts


def test_a_grammar_file_holds_every_text(tmp_path):
    path = tmp_path / "haiku.gbnf"
    path.write_text('root ::= line "\\n" line "\\n" line\nline ::= [A-Z] [a-z ]{3,40} [,.é]  # three of them\n', encoding="utf-8")
    for seed in range(4):
        out = written("--grammar", path, "--temperature", "1.2", "--seed", str(seed))
        assert re.fullmatch(r"([A-Z][a-z ]{3,40}[,.é](\n|$)){3}", out["text"]) and out["stop_reason"] == "end_of_text"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--json-schema", '{"propertyNames": {}}'], "error: --json-schema at #: the keyword propertyNames cannot be honoured"),
        (["--grammar", "root ::= x"], "error: --grammar:1:10: the rule `x` is not defined"),
        (["--grammar", 'root ::= "a"', "--json-schema", "{}"], "error: --json-schema: is given beside a grammar"),
        (["--grammar", "nowhere.gbnf"], "error: nowhere.gbnf: cannot be opened"),
        (["--logit-bias", "no such token=1"], "--logit-bias"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(flags, said):
    done = subprocess.run([program("attar-run"), "generate", smollm2(), "a", *flags], capture_output=True, text=True)
    assert done.returncode in (2, 3) and said in done.stderr and not done.stdout
