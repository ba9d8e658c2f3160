"""Template sources to compare with jinja2: a list by hand, and a seeded generator of random expressions."""

import random

BY_HAND = r"""
{{ none | selectattr('a') | list }}{{ none | map('upper') | list }}{{ missing | reject('eq', 1) | list }}{{ 0 | select | list }}
{{ messages | selectattr('role', 'in', ['user', 'system']) | list | length }}{{ messages | map(attribute='role') | unique | list }}
{{ [3, 1, 2] | max }}{{ [3, 1, 2] | min }}{{ ['b', 'A'] | min }}{{ [] | max is defined }}{{ [{'a': 1}, {'a': 3}] | max(attribute='a') }}
{{ [1, 2.5] | sum }}{{ [{'a': 1}] | sum(attribute='a', start=4) }}{{ ['a'] | sum }}
{{ ['a', 'A', 'b'] | unique | list }}{{ ['a', 'A'] | unique(true) | list }}{{ [1, 1.0, true] | unique | list }}
{{ 3.14159 | round(2) }} {{ 42 | round }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 1.15 | round(1) }} {{ 42.4 | round(method='ceil') }} {{ 1234.5 | round(-2) }}
{{ '%s-%d-%05.1f-%x' | format('a', 3, 2.25, 255) }} {{ '%(a)s' | format(a=1) }} {{ '%5s|%-5s|%r' % ('a', 'b', 'c') }} {{ '%d%%' % 3 }} {{ '%s' % [1] }}
{{ '%s' % (1, 2) }}
{{ '%d' % 'a' }}
{{ '{}-{1}'.format('a', 3) }}
{{ '{}-{}|{x:>5}|{y:.2f}|{z!r}|{{}}'.format('a', 3, x='b', y=1.005, z='q') }} {{ '{0[a]}{0[b][1]}'.format({'a': 1, 'b': [2, 3]}) }} {{ '{:,}'.format(1234567) }} {{ '{:05d}'.format(-42) }} {{ '{:^7}'.format('ab') }}
{{ {'z': 1, 'a': [{'q': 'é\u200b'}]} | tojson(ensure_ascii=true) }}{{ '😀\x7f' | tojson(ensure_ascii=true) }}{{ [1] | tojson(indent='\t') }}{{ {2: none, true: 1.5, none: 2} | tojson }}
{{ {1: 'x'}[1] }}{{ {1: 'x'}[1.0] }}{{ {1: 'x', true: 'y'} }}{{ {(1, 2): 3}[(1, 2)] }}{{ {'a': 1}[['a']] is defined }}
{{ {[1]: 2} }}
{% if messages[0].role is in ['user', 'x'] %}y{% else %}n{% endif %}{{ 1 is in (1, 2) }}{{ 'k' is not in {'k': 1} }}
{% raw %}{{ x }}{% y %}{% endraw %}|{%- raw -%}  a  {%- endraw -%}  b
  {% raw %}
 {{ x }}
  {% endraw %}
x
{% macro m(x) %}[{{ x }}{{ caller() if caller }}]{% endmacro %}{{ m(1) }}{% call m(2) %}c{% endcall %}{% macro n() %}{{ caller('u', k=2) }}{% endmacro %}{% call(a, k=1) n() %}{{ a }}{{ k }}{% endcall %}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, a=3) }}{{ m(*[1, 2], **{'b': 4}) }}
{% macro m(a) %}{{ a }}{% endmacro %}{% call m(1) %}c{% endcall %}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% macro m(a, b=a, c='c') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m() }}|{{ m(1) }}|{{ m(1, c=2) }}
{% filter upper | trim %}  abc {{ 'd' }} {% endfilter %}{% set x | upper %}abc{% endset %}{{ x }}{% filter replace('a', 'b') %}aa{% endfilter %}
{% with %}{% set x = 1 %}{{ x }}{% endwith %}{{ x is defined }}{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{% set a = 5 %}{% with a = 1, b = a %}{{ b }}{% endwith %}
{{ 'a\nb\r\nc\x0bd'.splitlines() }}{{ 'a\nb\n'.splitlines(true) }}{{ ''.splitlines() }}
{{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}{{ 'abc'.removeprefix('x') }}{{ 'a=b=c'.partition('=') }}{{ 'a=b=c'.rpartition('=') }}{{ 'a'.partition('=') }}{{ 'a'.rpartition('=') }}
{{ 'aab'.count('a') }}{{ 'aab'.count('') }}{{ 'abcb'.index('b') }}{{ 'abcb'.rindex('b') }}{{ 'abcabc'.find('c', 3) }}{{ 'abc'.find('', 9) }}{{ 'aaa'.count('a', 1, -1) }}
{{ 'abc'.index('z') }}
{{ '123'.isdigit() }}{{ ''.isdigit() }}{{ '١'.isdigit() }}{{ 'a1'.isalnum() }}{{ 'ab'.isalpha() }}{{ ' '.isspace() }}{{ 'Ab C'.istitle() }}{{ 'aé'.islower() }}{{ 'A1'.isupper() }}{{ 'a_1'.isidentifier() }}{{ 'é'.isascii() }}{{ '½'.isnumeric() }}
{{ 'a-b-c'.rsplit('-', 1) }}{{ ' a b  c '.rsplit(none, 1) }}{{ 'aaa'.rsplit('aa', 1) }}{{ 'a,b'.split(',', 0) }}{{ ''.split(',') }}{{ ''.split() }}
{{ 'x'.zfill(3) }}{{ '-5'.zfill(4) }}{{ 'x'.ljust(3, '.') }}{{ 'x'.rjust(3) }}{{ 'ab'.center(5, '*') }}{{ 'a\tb'.expandtabs(4) }}{{ 'Ab'.swapcase() }}{{ 'ß'.casefold() }}
{{ 'abc'.startswith(('x', 'a')) }}{{ 'abc'.startswith('b', 1) }}{{ 'abc'.endswith('b', 0, 2) }}{{ 'abc'.endswith(()) }}
{{ dict(a=1, b=2) }}{{ dict({'a': 1}, b=2) | tojson }}{{ dict([('a', 1)]) }}{% set j = joiner(', ') %}{% for i in [1, 2] %}{{ j() }}{{ i }}{% endfor %}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{% for i in range(3) %}{{ loop.cycle('x', 'y') }}{{ loop.changed(i // 2) }}{% endfor %}
{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.depth }}{{ loop.revindex0 }}{% endfor %}
{% for i in [[1, [2, [3]]]] recursive %}{{ loop.depth }}{% if i is iterable %}<{{ loop(i) }}>{% else %}{{ i }}{% endif %}{% endfor %}
{% for m in messages %}{% macro z() %}{{ m.role }}{% endmacro %}{{ z() }}{% endfor %}{% if true %}{% macro z() %}k{% endmacro %}{% endif %}{{ z() }}
{% macro outer() %}{% macro inner(x) %}i{{ x }}{% endmacro %}{{ inner(1) }}{% endmacro %}{{ outer() }}{{ inner is defined }}
{% set x = 1 %}{% macro f() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ f() }}{% for x in [3] %}{{ f() }}{% endfor %}
{% macro fact(n) %}{{ n * (fact(n - 1) | int) if n > 1 else 1 }}{% endmacro %}{{ fact(20) }}
{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 1 == 1 != 2 in [2] }}{{ 3 > 2 >= 2 }}
{{ 1 < 2 < 'a' }}
{{ 2 ** 3 ** 2 }}{{ 2 ** -1 }}{{ -2 ** 2 }}{{ 7 // 2 * 2 }}{{ 7.5 // 2 }}{{ -7.5 % 2 }}{{ 1 - 2 - 3 }}{{ 2 * 3 % 4 }}{{ 'a' ~ 1 + 2 }}{{ 1e300 * 1e10 }}
{{ 100000000000000000000 }} {{ 9223372036854775807 + 1 }} {{ 10 ** 30 }} {{ 0x1f }}{{ 0b101 }}{{ 0o17 }}{{ 1_000 }} {{ 1_0.5e1 }}
{{ 1, 2 }}{{ (1,) }}{{ () }}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set x = 1, %}{{ x }}{% for (a, (b, c)) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [[1, 2, 3]] %}{{ a }}{% endfor %}
{{ range(3) }}{{ range(3) | list }}{{ range(5)[1:3] | list }}{{ range(0, 5, 2) }}{{ range(3)[1] }}{{ range(3) | tojson }}
{{ {'a': 1}.items() }}{{ {'a': 1}.keys() }}{{ {'a': 1}.values() }}{{ {'a': 1}.keys() | list }}{{ {'a': 1} | items | list }}
{% set g = [1, 2, 3] | select %}{{ g | first }}{{ g | list }}{{ g | list }}{{ 'y' if [] | select else 'n' }}
{{ [1] | map('string') | length }}
{{ [1, 2] | map('string') | last }}
{{ ([1, 2] | map('string'))[0] }}
{{ [1, 2, 3, 4, 5] | batch(2, 'x') | list }}{{ [1, 2, 3, 4, 5] | slice(3, 'x') | list }}{{ [1, 2] | reverse | list }}{{ 'abc' | reverse }}{{ {'a': 1, 'b': 2} | reverse | list }}
{% for g in [{'a': 'x', 'n': 1}, {'a': 'Y', 'n': 2}, {'a': 'X', 'n': 3}] | groupby('a') %}{{ g.grouper }}:{{ g.list | length }}{{ g[1] | map(attribute='n') | join(',') }};{% endfor %}{{ [{'a': 1}] | groupby('a') }}
{{ [{'a': 2, 'b': 1}, {'a': 1, 'b': 2}, {'a': 1, 'b': 1}] | sort(attribute='a,b') }}{{ [[2, 'a'], [1, 'b']] | sort }}{{ [('b', 1), ('a', 2)] | sort(attribute=0) }}
{{ [1, 'a'] | sort }}
{{ 'foo bar baz qux' | truncate(9) }}{{ 'foo bar baz qux' | truncate(9, true, '', 0) }}{{ 'foo bar baz qux' | truncate(11, false, '..', 0) }}{{ 'hi' | center(6) }}|{{ 'Hello world, you 2' | wordcount }}{{ 'a b c' | wordwrap(2) }}
{{ 'abc' is lower }}{{ 'ABC' is upper }}{{ 4 is divisibleby 2 }}{{ 4 is divisibleby(3) }}{{ 2.0 is even }}{{ 1 is eq 1 }}{{ 1 is gt 0 }}{{ 1 is lessthan 2 }}{{ 1 is ge 1 }}{{ 1 is le 0 }}{{ 1 is ne 2 }}{{ 'trim' is filter }}{{ 'nope' is test }}
{{ [] is sequence }}{{ [] | map('upper') is iterable }}{{ [] | select is sequence }}{{ none is iterable }}{{ missing is iterable }}{{ missing is callable }}{{ range is callable }}{{ 1 is sameas true }}{{ none is sameas none }}{{ 'a' | safe is escaped }}
{{ messages[0].items is callable }}{{ {'items': 1}.items is callable }}{{ {'items': 1}['items'] }}{{ {'pop': 1}.pop is defined }}{{ {'a': 1}.get('b', 3) }}{{ {1: 2}.get(1) }}{{ [1, 2, 1].count(1) }}{{ [1, 2].index(2) }}
{{ {'a': 1}.update({'b': 2}) }}
{{ [1].append(2) }}
{{ 'a'.nosuch() }}
{{ '<b>&"' | e }}{{ '<b>' | escape | upper }}{{ '<a>' | safe + '<b>' }}{{ '<a>' | safe ~ '<b>' }}{{ ('<a>' | safe).replace('a', '<') }}{{ '<' | forceescape }}{{ ['<'] | join | e }}
{{ none[0] }}|{{ none.x }}|{{ 5['a'] }}|{{ 'abc'['upper']() }}|{{ [1, 2][true] }}|{{ [1][1.0] is defined }}|{{ 'abc'[5] }}
{{ [none, word][0][1:] }}
{{ messages[0][1:] }}
{{ missing[0] }}
{{ missing.x }}
{{ missing + 'a' }}
{{ missing < 1 }}
{{ missing == missing2 }}{{ missing == none }}{{ missing ~ '' }}{{ missing | upper }}{{ missing | length }}{{ missing | list }}{{ missing | join }}{{ 'a' in missing }}{{ [missing] }}{{ (missing or 1) }}
{{ 'a' in none }}
{{ 1 in 'a' }}
{{ none < 1 }}
{{ [1, 2] < [1, 3] }}{{ 'a' < 'b' }}{{ (1, 2) < (1, 3) }}{{ true < 2 }}{{ 1 == 1.0 }}{{ [1] == (1,) }}{{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }}
{{ ['é', '\n', '\x07', '\u200b', '\xa0', "it's", 'q"', 'b\'"', '\\', '\U000e0001'] }}{{ {'a': missing} }}
{{ 0.1 + 0.2 }} {{ 1 / 3 }} {{ 1e16 }} {{ 123456789.123 }} {{ 1e-5 }} {{ 1.0 }} {{ -0.0 }} {{ 5e-324 }} {{ 'inf' | float }} {{ 'nan' | float | tojson }} {{ 1e22 }}
{{ '0x1A' | int(0, 16) }}{{ '11' | int(base=2) }}{{ '1_000' | int }}{{ 'x' | int('d') }}{{ true | int }}{{ '1e3' | int }}{{ '1e3' | float }}{{ [] | int }}{{ ' 5 ' | float }}
{{ 'ß'.upper() }}{{ 'İ'.lower() | length }}{{ 'ŉ' | upper }}{{ 'ﬁ' | upper }}{{ 'ǆ' | title }}{{ 'ΑΣ'.lower() }}{{ 'ΑΣ Σ ΑΣΑ' | lower }}{{ 'ﬁa ßb' | title }}{{ 'ᾳ' | upper }}{{ 'ﬁx' | capitalize }}
{{ "they're bill's" | title }}{{ "they're bill's".title() }}{{ 'a-b (c) [d]' | title }}{{ 'hello WORLD' | capitalize }}
{{ '\0' | length }}{{ '\101\x41\u0041\U00000041' }}{{ 'a\q' }}{{ 'a\
b' }}
{{ 'a\n\nb' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent('>', blank=true) }}|{{ '' | indent }}
{{ 'a' if false }}|{{ 'a' if 0 else 'b' if 1 else 'c' }}|{{ not none }}|{{ not 'a' is string }}|{{ 1 is not string }}|{{ -1 | abs }}|{{ +1 }}|{{ - -1 }}
{%- if true %}  x  {%+ if true %} y{% endif %}{% endif -%}   z
  {%+ if true %}
  a {{- ' b ' -}}  c
  {#- comment -#}
  d
{%- endif +%}
e
{% if true -%}

  x
{%- endif %}
   {% set x = 1 %}   {{ x }}
	{# tab #}
{% block a %}in {{ x is defined }} block{% endblock %}{{ self is defined }}{% autoescape false %}{{ '<' }}{% endautoescape %}
{% set ns = namespace(a=1, b=[]) %}{% set ns.a = ns.a + 1 %}{{ ns.a }}{{ ns.b }}{{ ns.c is defined }}{{ ns['a'] }}{% set ns.t %}block{% endset %}{{ ns.t }}
{% set d = {'a': 1} %}{% set d.a = 2 %}
{% for x in [1, 2, 3, 4] if x is even %}{{ loop.index }}/{{ loop.length }}:{{ x }}{% else %}none{% endfor %}{% for x in [] %}{% else %}{{ x is defined }}{% endfor %}
{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}{{ i is defined }}
{% break %}
{% for i in [1] %}{% set x = i %}{% endfor %}{{ x is defined }}{% for i in [1, 2] %}{{ y is defined }}{% set y = 1 %}{% endfor %}
{% generation %}{% set inner = 1 %}a{% endgeneration %}{{ inner is defined }}
{{ 'a' 'b' }}{{ [1, 2,] }}{{ {'a': 1,} }}{{ "{{" }}{{ '%}' }}{{ {'a': {'b': 1}}}}{{ [[1]][0][0] }}{{ 'a.b' }}{{ [1, 2].0 }}
{{ x is defined if true }}
{{ 1 is nosuch }}
{{ 'a' | nosuch }}
{{ messages() }}
{{ [x for x in [1]] }}
{{ 1 + }}
{% endif %}
{% if %}
{{ (1 }}
{{ 1) }}
{{ raise_exception('boom') }}
"""

ATOMS = [
    "0",
    "1",
    "-3",
    "7",
    "2.5",
    "-0.5",
    "1e3",
    "''",
    "'a'",
    "'Ab c'",
    "' x\\n'",
    "'12'",
    "'é日'",
    "'a,b,c'",
    "true",
    "false",
    "none",
    "missing",
    "[]",
    "[3, 1, 2]",
    "['b', 'a', 'B']",
    "[1, 'a', none]",
    "{}",
    "{'a': 1, 'b': [2]}",
    "{1: 'x'}",
    "(1, 'a')",
    "()",
    "range(3)",
    "messages",
    "messages[0]",
    "[{'a': 2}, {'a': 1}]",
    "word",
    "number",
]
FILTERS = [
    "upper",
    "lower",
    "title",
    "capitalize",
    "trim",
    "trim('a')",
    "length",
    "count",
    "list",
    "first",
    "last",
    "reverse",
    "sort",
    "sort(reverse=true)",
    "unique",
    "join",
    "join('-')",
    "join(', ', attribute='a')",
    "default('d')",
    "default('d', true)",
    "string",
    "int",
    "int(5)",
    "float",
    "abs",
    "round",
    "round(1)",
    "round(1, 'floor')",
    "min",
    "max",
    "sum",
    "tojson",
    "tojson(indent=2)",
    "tojson(ensure_ascii=true)",
    "tojson(sort_keys=true)",
    "replace('a', 'b')",
    "replace('', '-')",
    "indent",
    "indent(2, true)",
    "map('upper')",
    "map('length')",
    "map(attribute='a')",
    "map(attribute='role')",
    "map(attribute='b', default=0)",
    "select",
    "reject",
    "select('string')",
    "reject('equalto', 1)",
    "selectattr('a')",
    "selectattr('a', 'gt', 1)",
    "rejectattr('role', 'eq', 'user')",
    "batch(2)",
    "slice(2)",
    "dictsort",
    "items",
    "groupby('a')",
    "wordcount",
    "center(7)",
    "e",
    "safe",
    "format(1)",
    "attr('x')",
]
TESTS = [
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "integer",
    "float",
    "boolean",
    "mapping",
    "sequence",
    "iterable",
    "true",
    "false",
    "odd",
    "even",
    "lower",
    "upper",
    "callable",
    "in [1, 'a']",
    "eq 1",
    "ne 'a'",
    "gt 0",
    "le 2",
    "sameas none",
    "divisibleby 2",
    "equalto('a')",
    "escaped",
]
METHODS = [
    "upper()",
    "lower()",
    "strip()",
    "lstrip('a')",
    "rstrip('c')",
    "split()",
    "split(',')",
    "split(',', 1)",
    "rsplit(',', 1)",
    "splitlines()",
    "replace('a', 'x')",
    "replace('a', 'x', 1)",
    "startswith('a')",
    "endswith('c')",
    "find('b')",
    "rfind('a')",
    "index('a')",
    "count('a')",
    "join(['x', 'y'])",
    "title()",
    "capitalize()",
    "swapcase()",
    "isdigit()",
    "isalpha()",
    "islower()",
    "isspace()",
    "partition(',')",
    "rpartition(',')",
    "removeprefix('a')",
    "zfill(5)",
    "center(5, '*')",
    "ljust(4)",
    "format(1)",
    "items()",
    "keys()",
    "values()",
    "get('a')",
    "get('z', 0)",
    "copy()",
    "append(1)",
    "update({})",
    "x",
    "a",
    "role",
]
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
SUBSCRIPTS = ["[0]", "[-1]", "[5]", "['a']", "['role']", "[1:]", "[:-1]", "[::-1]", "[::2]", "[none]", "[true]"]


def expression(chance, depth):
    """A random expression; most make sense, as operands are drawn from few kinds of values."""
    if depth == 0:
        return chance.choice(ATOMS)

    def inner():
        return expression(chance, depth - chance.randint(1, depth))

    kind = chance.randrange(9)
    if kind <= 2:
        return f"{inner()} | {chance.choice(FILTERS)}"
    if kind == 3:
        return f"({inner()}) is {chance.choice(['', 'not '])}{chance.choice(TESTS)}"
    if kind == 4:
        return f"({inner()}).{chance.choice(METHODS)}"
    if kind == 5:
        return f"([{inner()}, word][0]){chance.choice(SUBSCRIPTS)}"  # with a name inside: jinja2 folds constants by other rules
    if kind == 6:
        return f"({inner()}) {chance.choice(BINARY)} ({inner()})"
    if kind == 7:
        return chance.choice(["[{0}, {1}]", "{{'k': {0}, 'l': {1}}}", "({0}, {1})", "not ({0}) or {1}", "-({0})", "({0}) if ({1}) else 'e'", "({0}) < ({1}) < 3"]).format(
            inner(), inner()
        )
    return f"({inner()})"


def statement(chance):
    e = [expression(chance, chance.randint(1, 3)) for _ in range(3)]
    return chance.choice(
        [
            "{{% for x in {0} %}}{{{{ loop.index }}}}{{{{ x }}}};{{% else %}}E{{% endfor %}}",
            "{{% if {0} %}}a{{% elif {1} %}}b{{% else %}}c{{% endif %}}",
            "{{% set x = {0} %}}{{{{ x }}}}{{{{ x }}}}",
            "{{% macro f(x, y={1}) %}}<{{{{ x }}}}{{{{ y }}}}>{{% endmacro %}}{{{{ f({0}) }}}}{{{{ f({2}, 1) }}}}",
            "{{% for x in {0} if {1} %}}{{{{ x }}}}{{{{ loop.last }}}}{{% endfor %}}",
            "{{% set ns = namespace(v={0}) %}}{{% for x in [1, 2] %}}{{% set ns.v = [x, ns.v] %}}{{% endfor %}}{{{{ ns.v }}}}",
            "{{% filter upper %}}{{{{ {0} }}}}{{% endfilter %}}",
        ]
    ).format(*e)


def random_templates(seed, count):
    chance = random.Random(seed)
    return ["{{ " + expression(chance, chance.randint(1, 4)) + " }}" if chance.random() < 0.8 else statement(chance) for _ in range(count)]


def by_hand():
    """One template a line; a line that begins with blanks, or follows one that ends inside a string, goes on with the one before."""
    out = []
    for line in BY_HAND.strip("\n").split("\n"):
        if out and (line[:1] in (" ", "\t", "") or line in ("x", "e", "{%- endif +%}", "{%- endif %}", "b' }}")):
            out[-1] += "\n" + line
        else:
            out.append(line)
    return out
