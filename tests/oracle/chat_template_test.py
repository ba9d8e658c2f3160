"""Chat templates against jinja2, as transformers sets it up: real ones, hand-made ones and random expressions."""

import copy
import hashlib
import itertools
import json
import os
import pathlib
import re
import subprocess

import pytest
from conftest import PEERS, peer, program, smollm2
from gguf import GGUFReader
from template_expressions import by_hand, random_templates
from transformers.utils import chat_template_utils

pytestmark = pytest.mark.parity
DATE = "26 Jul 2024"


REAL = ["smollm2", "llama3", "llama3_1", "qwen3", "gemma3"]  # Llama-2's files and the packaged Gemma-3 GGUF hold none


def real_template(name):
    if name == "smollm2":
        return GGUFReader(smollm2()).fields["tokenizer.chat_template"].contents()
    return json.loads((peer(f"tokenizers/{name}") / "models/tokenizer_config.json").read_text())["chat_template"]


HAND_MADE = [
    "{% for m in messages %}\n  {%- if loop.first -%}\n first {{ m.role }}\n  {% elif not loop.last %}\nmiddle\n  {% else %}\n last\n{% endif %}\n{% endfor %}\nend\n",
    "{% set ns = namespace(n=0, found=false) %}{% for m in messages if m['role'] == 'user' %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }} {{ ns.found }}",
    "{{ messages[::-1][0].content | trim | upper }} {{ messages[1:] | length }} {{ messages | map(attribute='role') | join(', ') }}",
    "{% macro greet(name, mark='!') -%}hello {{ name }}{{ mark }}{%- endmacro %}{{ greet('a') }}{{ greet('b', mark='?') }}",
    "{{ {'a': [1, 2.5, none, true], 'b': {'c': 'd\"e'}} | tojson }} {{ [1, 'x'] | tojson(indent=2) }} {{ [1, 'x', none] }}",
    "{{ 7 // 2 }} {{ 7 % 3 }} {{ 7 / 2 }} {{ -2 * 3 }} {{ 'a' ~ 1 ~ true }} {{ 1 < 2 and not 3 == 4 or false }} {{ 'b' in 'abc' }} {{ 'x' not in ['y'] }}",
    "{{ missing is defined }} {{ missing | default('d') }} {{ '' | default('e', true) }} {{ none is none }} {{ 3 is odd }} {{ 'k' is string }}",
    "{% if messages[0].content.startswith('H') %}yes{% else %}no{% endif %} {{ messages[0].content.split(' ')[0] }} {{ ' a b '.strip() }}|{{ 'aXb'.replace('X', '-') }}",
    "{# comment #}  {% set x %}block {{ 1 + 1 }}{% endset %}{{ x }}{% for i in range(5) %}{% if i == 3 %}{% break %}{% endif %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}{% for x in [] %}{% else %}empty{% endfor %}{{ 'yes' if 0 else 'no' }}{{ [1,2,3] | reject('equalto', 2) | list }}",
    "a\r\n{% if true %}\r\nb\r{% endif %}\r\n{{ '\\u2581\\x41\\a\\U0001F600' }}",
    "{{ 'a,b,c'.split(',', 1) }} {{ ' a b  c '.split(none, 1) }} {{ 'a b c'.split(maxsplit=1) }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'ab' | replace('', '-') }} {{ 'aaa' | replace('a', 'b', count=0) }}",
    "{{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A', 'c'] | sort(true, true) }} {{ [{'a': 2}, {'a': 1}] | sort(attribute='a') }} {{ {'B': 1, 'a': 0} | dictsort }} {{ {'B': 1, 'a': 0} | dictsort(true, 'value', true) }}",
    "{{ 'abc' | reverse }} {{ ('a', 1) }} {{ ('a',) }} {{ () }} {{ (1, 2) == [1, 2] }} {{ (1, 2) | list }} {{ {'a': 1}.items() | list }} {{ [{'a': {'b': [7]}}] | map(attribute='a.b.0') | list }}",
    "{{ {'b': [1, {'d': 1, 'c': 2}], 'a': 2} | tojson(indent=2, separators=('; ', '= '), sort_keys=true) }} {{ [1] | tojson(false, 0) }} {{ (1, 2) | tojson }}",
    "{{ '12abc' | int }} {{ ' 7 ' | int }} {{ 'x' | int(3) }} {{ '3.9' | int }} {{ '+5' | int }} {{ none | int }} {{ 'x' | float }} {{ 9007199254740993 * 2 - 1 }} {{ 7 % -3 }} {{ -7 // 2 }} {{ -1 | abs }} {{ -1.5 }}",
    "{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(b=3, a=4) }} {{ \"they're bill's\".title() }} {{ \"they're bill's\" | title }} {{ 'é日x'.find('x') }} {{ 3 is sameas 3.0 }}",
]

CONVERSATIONS = [
    [{"role": "user", "content": "Hi there"}],
    [
        {"role": "system", "content": " Be brief. "},
        {"role": "user", "content": "Hello, World!"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": 'One\ntwo "three"'},
    ],
    [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA"}, {"role": "user", "content": "R"}, {"role": "assistant", "content": "S"}],
    [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    [{"role": "assistant", "content": "starts"}],
    [{"role": "user", "content": "üñí 日本 {{ not code }} {% nor this %}"}, {"role": "assistant", "content": ""}],
]


TOOLS = [
    {
        "type": "function",
        "function": {"name": "f", "description": 'a "q" é', "parameters": {"type": "object", "properties": {"x": {"type": "number", "default": 1.5}}, "required": ["x"]}},
    }
]
TOOL_CONVERSATIONS = [
    [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]},
        {"role": "tool", "content": "42"},
        {"role": "user", "content": "<tool_response>x</tool_response>"},
        {"role": "assistant", "content": "<think>a</think>\n\nb", "reasoning_content": "zz"},
        {"role": "user", "content": "bye"},
    ],
    [{"role": "user", "content": [{"type": "text", "text": " Hi "}, {"type": "image"}]}],
    [{"role": "user", "content": "Hi", "name": None, "n": 7, "score": 0.5, "ok": True}],
]


REASONING = [
    {"role": "user", "content": "Q"},
    {"role": "assistant", "content": "A", "reasoning": "why\n"},
    {"role": "user", "content": "R"},
    {"role": "assistant", "content": "S", "thinking": "so", "reasoning_content": None},
]
SCHEMA = {
    "type": "object",
    "properties": {
        "y": {"type": "string", "enum": ["a", "b"]},
        "z": {"type": "array", "items": {"type": "object", "properties": {"items": {"type": "integer"}, "keys": {"type": ["string", "null"]}}}},
        "u": {"anyOf": [{"type": "string"}, {"type": "integer"}], "description": "<b>"},
        "o": {"type": "object", "properties": {"k": {"type": "boolean"}}, "required": ["k"], "additionalProperties": False},
    },
    "required": ["y"],
}
NESTED_TOOLS = [
    {"type": "function", "function": {"name": "g", "description": "d", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "f", "description": "none", "parameters": {"type": "object", "properties": {}}}},
]


def tool_call(name, arguments, number=1):
    return {"id": f"abcdefgh{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


NESTED_CONVERSATIONS = [
    [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [tool_call("g", {"y": "é", "z": [{"items": 1}], "o": {"k": False}, "u": None, "x": 1.0})]},
        {"role": "tool", "content": '{"a": 1}', "tool_call_id": "abcdefgh1"},
    ],
    [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "text", "thinking": "t", "tool_calls": [tool_call("g", '{"y": 1}'), tool_call("f", {}, 2)]},
        {"role": "tool", "content": "1", "name": "g", "tool_call_id": "abcdefgh1"},
        {"role": "tool", "content": [{"type": "text", "text": "2"}], "name": "f", "tool_call_id": "abcdefgh2"},
        {"role": "assistant", "content": "done", "reasoning_content": "r"},
    ],
    [{"role": "developer", "content": "dev"}, {"role": "user", "content": "a</think>b"}, {"role": "assistant", "content": "c<think>d"}],
]
CHATS = (
    [(messages, None) for messages in [*CONVERSATIONS, REASONING]]
    + [(messages, tools) for messages in TOOL_CONVERSATIONS for tools in (TOOLS, None)]
    + [(messages, NESTED_TOOLS) for messages in NESTED_CONVERSATIONS]
)
VARIANTS = [(True, {}), (False, {"enable_thinking": False}), (True, {"enable_thinking": True, "thinking": True})]  # add_generation_prompt, flags


def environment_of(template):
    compiled = chat_template_utils._compile_jinja_template(template)
    compiled.environment.globals["strftime_now"] = compiled.globals["strftime_now"] = lambda format: DATE
    return compiled.environment


def rendered_by_transformers(case):
    """The text and the places of generation blocks; "error" where it refuses."""
    try:
        environment_of(case["template"])
        texts, places = chat_template_utils.render_jinja_template(
            [case["messages"]],
            tools=case["tools"],
            chat_template=case["template"],
            return_assistant_tokens_mask=case.get("spans", False),
            add_generation_prompt=case["add_generation_prompt"],
            bos_token=case["bos"],
            eos_token=case["eos"],
            date_string=DATE,
            **case["flags"],
        )
    except Exception:
        return "error", []
    return texts[0], places[0] if places else []


def rendered_by_attar(folder, cases):
    (folder / "in.json").write_text(json.dumps(cases))
    subprocess.run([program("template_dump"), folder / "in.json", folder / "out.json"], check=True, timeout=600)
    return json.loads((folder / "out.json").read_text())


def cases_of(template, chats=CHATS):
    spans = "{% generation" in template or "{%- generation" in template
    return [
        {"template": template, "messages": messages, "tools": tools, "add_generation_prompt": prompt, "bos": "<s>", "eos": "</s>", "flags": flags, "spans": spans}
        for (messages, tools), (prompt, flags) in itertools.product(chats, VARIANTS)
    ]


def letters_of(text, spans):
    """Bytes to letters."""
    starts = list(itertools.accumulate((len(letter.encode()) for letter in text), initial=0))
    return {i for i in range(len(text)) if any(begin <= starts[i] < end for begin, end in spans)}


def assert_renders_as_transformers(folder, cases):
    answers = rendered_by_attar(folder, cases)
    for case, got in zip(cases, answers, strict=True):
        expected, places = rendered_by_transformers(case)
        assert got.get("text", "error") == expected, (case["messages"], got)
        if expected != "error":
            assert letters_of(expected, got["generated"]) == {i for begin, end in places for i in range(begin, end)}, case["messages"]
    return answers


@pytest.mark.parametrize("name", [*REAL, *(f"hand made {i}" for i in range(len(HAND_MADE)))])
def test_renders_as_jinja2(tmp_path, name):
    if name in REAL:
        assert_renders_as_transformers(tmp_path, cases_of(real_template(name)))
    else:
        assert_renders_as_transformers(tmp_path, cases_of(HAND_MADE[int(name.split()[-1])], [(messages, None) for messages in CONVERSATIONS]))


# Templates of other people are fetched ('make peers'), never committed; of theirs we keep the SHA-256 and that of what all
# cases render to. `llama.cpp/`: vendor/llama.cpp/models/templates of llama-cpp-python 0.3.36, `trl/`: trl/chat_templates of
# trl 1.16.0, both on PyPI.
GOLDEN = pathlib.Path(__file__).parent / "chat_template_golden.json"
TEMPLATES = {str(path.relative_to(PEERS / "templates")): path for path in sorted((PEERS / "templates").rglob("*.jinja"))} or {"none": None}


def hash_of(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", TEMPLATES)
def test_renders_templates_of_a_folder(tmp_path, name):
    template = (TEMPLATES[name] or peer("templates")).read_text()
    answers = assert_renders_as_transformers(tmp_path, cases_of(template))
    outputs = hash_of("\0".join(got.get("text", "error") for got in answers))
    golden = json.loads(GOLDEN.read_text())
    if os.environ.get("ATTAR_RECORD_GOLDEN"):
        golden[name] = {"template": hash_of(template), "outputs": outputs}
        GOLDEN.write_text(json.dumps(dict(sorted(golden.items())), indent=1) + "\n")
    known = golden.get(name, {"template": None})
    if known["template"] == hash_of(template):
        assert outputs == known["outputs"]


MESSAGES = [{"role": "user", "content": "Hi there"}]
# What jinja2 prints with an address, or after rules of Python's that no template needs.
ADDRESS = re.compile(r"(?i) at 0x[0-9a-f]+>|object do_items|-o-b-j-e-c-t-|tcejbo|<function|<class|<macro|<bound")
NOT_HERE = ["a part of a range is printed", "a generator is printed"]


def compare_expressions(folder, templates):
    environment = environment_of("any")
    environment.optimized = False
    cases = [
        {"template": source, "messages": MESSAGES, "tools": None, "add_generation_prompt": True, "bos": "<s>", "eos": "</s>", "flags": {"word": True, "number": False}}
        for source in templates
    ]
    equal = 0
    for source, got in zip(templates, rendered_by_attar(folder, cases), strict=True):
        try:
            expected = environment.from_string(source).render(
                messages=copy.deepcopy(MESSAGES),
                tools=None,
                documents=None,
                add_generation_prompt=True,
                bos_token="<s>",
                eos_token="</s>",
                date_string=DATE,
                word=True,
                number=False,
            )
        except Exception:
            expected = "error"
        if ADDRESS.search(expected) or any(words in got.get("error", "") for words in NOT_HERE):
            continue
        assert got.get("text", "error") == expected, (source, got)
        equal += expected != "error"
    return equal


def test_expressions_by_hand(tmp_path):
    assert compare_expressions(tmp_path, by_hand()) > 60


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_random_expressions(tmp_path, seed):
    assert compare_expressions(tmp_path, random_templates(seed, 3000)) > 1000


def test_letters_change_case_as_in_python(tmp_path):
    letters = [chr(code) for code in range(0x80, 0x1FFFF) if chr(code).isprintable() and not 0xD800 <= code < 0xE000]
    text = "\u3000".join(letters)
    methods = ["upper", "lower", "title", "capitalize", "swapcase", "casefold"]
    cases = [
        {
            "template": "{% for c in messages[0].content.split('\u3000') %}{{ c." + method + "() }} {% endfor %}",
            "messages": [{"role": "user", "content": text}],
            "tools": None,
            "add_generation_prompt": True,
            "bos": "",
            "eos": "",
            "flags": {},
        }
        for method in methods
    ]
    for method, got in zip(methods, rendered_by_attar(tmp_path, cases), strict=True):
        wrong = [(letter, ours) for letter, ours in zip(letters, got["text"].split(" "), strict=False) if ours != getattr(letter, method)()]
        assert not wrong, (method, len(wrong), wrong[:20])


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
        "{{ ''.__class__ }}{{ ().__class__.__bases__ }}",
        "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% if %}",
        "{{ 'open",
        "{% for x in y %}",
    ],
)
def test_hostile_templates_end_in_an_error_or_nothing(tmp_path, source):
    answer = rendered_by_attar(tmp_path, [{"template": source, "messages": CONVERSATIONS[0], "add_generation_prompt": True, "bos": "", "eos": "", "flags": {}}])[0]
    assert "error" in answer or answer["text"] == ""
