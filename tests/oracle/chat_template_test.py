"""Chat templates of the real models against jinja2, as transformers sets it up."""
import itertools
import json
import subprocess

import jinja2
import jinja2.ext
import jinja2.sandbox
import pytest
from conftest import peer, program, smollm2
from gguf import GGUFReader

pytestmark = pytest.mark.parity


def jinja_environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: "26 Jul 2024"
    return environment


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
    [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hello, World!"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "One\ntwo \"three\""}],
    [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA"}, {"role": "user", "content": "R"}, {"role": "assistant", "content": "S"}],
    [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    [{"role": "assistant", "content": "starts"}],
    [{"role": "user", "content": "üñí 日本 {{ not code }} {% nor this %}"}, {"role": "assistant", "content": ""}],
]


TOOLS = [{"type": "function", "function": {"name": "f", "description": "a \"q\" é", "parameters": {"type": "object", "properties": {"x": {"type": "number", "default": 1.5}}, "required": ["x"]}}}]
TOOL_CONVERSATIONS = [
    [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]},
     {"role": "tool", "content": "42"}, {"role": "user", "content": "<tool_response>x</tool_response>"}, {"role": "assistant", "content": "<think>a</think>\n\nb", "reasoning_content": "zz"}, {"role": "user", "content": "bye"}],
    [{"role": "user", "content": [{"type": "text", "text": " Hi "}, {"type": "image"}]}],
    [{"role": "user", "content": "Hi", "name": None, "n": 7, "score": 0.5, "ok": True}],
]


def rendered_by_jinja2(template, case):
    try:
        return jinja_environment().from_string(template).render(messages=case["messages"], tools=case["tools"], documents=None, add_generation_prompt=case["add_generation_prompt"],
                                                                bos_token="<s>", eos_token="</s>", date_string="26 Jul 2024", **case["flags"])
    except (jinja2.exceptions.TemplateError, TypeError):
        return "error"


@pytest.mark.parametrize("name", [*REAL, *(f"hand made {i}" for i in range(len(HAND_MADE)))])
def test_renders_as_jinja2(tmp_path, name):
    template = real_template(name) if name in REAL else HAND_MADE[int(name.split()[-1])]
    chats = [(messages, None) for messages in CONVERSATIONS]
    if name in REAL:
        chats += [(messages, tools) for messages in TOOL_CONVERSATIONS for tools in (TOOLS, None)]
    cases = [{"template": template, "messages": messages, "tools": tools, "add_generation_prompt": prompt, "bos": "<s>", "eos": "</s>", "flags": flags}
             for (messages, tools), prompt, flags in itertools.product(chats, [True, False], [{}, {"enable_thinking": False}])]
    (tmp_path / "in.json").write_text(json.dumps(cases))
    subprocess.run([program("template_dump"), tmp_path / "in.json", tmp_path / "out.json"], check=True)
    for case, got in zip(cases, json.loads((tmp_path / "out.json").read_text()), strict=True):
        expected = rendered_by_jinja2(template, case)
        assert got.get("text", "error") == expected, (case["messages"], got)


@pytest.mark.parametrize("source", ["{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}", "{{ ''.__class__ }}{{ ().__class__.__bases__ }}", "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
                                    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{% if %}", "{{ 'open", "{% for x in y %}"])
def test_hostile_templates_end_in_an_error_or_nothing(tmp_path, source):
    case = {"template": source, "messages": CONVERSATIONS[0], "add_generation_prompt": True, "bos": "", "eos": "", "flags": {}}
    (tmp_path / "in.json").write_text(json.dumps([case]))
    subprocess.run([program("template_dump"), tmp_path / "in.json", tmp_path / "out.json"], check=True, timeout=60)
    answer = json.loads((tmp_path / "out.json").read_text())[0]
    assert "error" in answer or answer["text"] == ""
