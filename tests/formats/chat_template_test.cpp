// The interpreter on small templates whose result is what jinja2 gives, and on templates that mean harm. Real templates
// are compared with jinja2 itself in tests/oracle/chat_template_test.py.
#include "runtime/formats/jinja/chat_template.h"

#include <gtest/gtest.h>

#include "runtime/formats/jinja/known_templates.h"
#include "tests/formats/tiny_files.h"

namespace attar {
namespace {

const char* const kChatMl = find_known_template("chatml")->source;

ChatContext context() {
  return {.messages = {{"user", "Hi"}, {"assistant", "Yes?"}}, .bos_token = "<s>", .eos_token = "</s>"};
}
std::string rendered(const std::string& source) {
  return ChatTemplate(source).render(context()).text;
}
std::string failure(const std::string& source) {
  return error_of([&] { rendered(source); });
}
std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

TEST(ChatTemplate, ChatMl) {
  EXPECT_EQ(rendered(kChatMl),
            "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, BlocksTakeTheirLineAway) {
  EXPECT_EQ(rendered("a\n  {% if true %}\nb\n  {% endif %}\nc\n"), "a\nb\nc");
  EXPECT_EQ(rendered("a  {{- ' b ' -}}  c"), "a b c");
  EXPECT_EQ(rendered("a {# said aside #} b"), "a  b");
}

TEST(ChatTemplate, LoopsScopesAndMacros) {
  EXPECT_EQ(
      rendered("{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ m.role }}{% if not loop.last %},{% endif "
               "%}{% endfor %}"),
      "1/2user,2/2assistant");
  EXPECT_EQ(rendered("{% set x = 1 %}{% for i in [2] %}{% set x = i %}{% endfor %}{{ x }}"), "1");
  EXPECT_EQ(rendered("{% set n = namespace(x=1) %}{% for i in [2] %}{% set n.x = i %}{% endfor %}{{ n.x }}"), "2");
  EXPECT_EQ(rendered("{% macro f(a, b='B') %}{{ a }}{{ b }}{% endmacro %}{{ f('x') }}{{ f('y', b=1) }}"), "xBy1");
}

TEST(ChatTemplate, TextIsUnicode) {
  EXPECT_EQ(rendered("{{ '\u00A0\u3000x\u2003\n' | trim }}|"), "x|") << "Python's strip takes all Unicode blanks";
  EXPECT_EQ(rendered("{{ '\u00E9x\u00E9'.strip('\u00E9') }}"), "x");
  EXPECT_EQ(rendered("{{ 'x\u00C3\u00A9'.rstrip('\u00E3') }}"), "x\u00C3\u00A9") << "characters, not bytes";
  EXPECT_EQ(rendered("{{ '\u00C0\u00C9' | lower }}{{ '\u00E9\u00DF'.upper() }}"), "\u00E0\u00E9\u00C9SS");
  EXPECT_EQ(rendered("{{ 'a\u00A0b\tc'.split() }}{{ '\u65E5\u672C' | length }}{{ '\u65E5\u672C'[1] }}"),
            "['a', 'b', 'c']2\u672C");
}

TEST(ChatTemplate, NumbersReadAsPythons) {
  EXPECT_EQ(rendered("{{ 0.1 }} {{ 1.0 }} {{ 1e16 }} {{ 123456789012345.0 }} {{ 0.00001 }} {{ 2.5e-7 }} {{ 7 / 2 }}"),
            "0.1 1.0 1e+16 123456789012345.0 1e-05 2.5e-07 3.5");
  EXPECT_EQ(rendered("{{ -7 // 2 }} {{ -7 % 3 }} {{ 2 * 3 + 1 }}"), "-4 2 7");
}

TEST(ChatTemplate, JsonIsPythons) {
  EXPECT_EQ(rendered("{{ {'a': [1, true, none], 'b': '\u00E9\"'} | tojson }}"),
            "{\"a\": [1, true, null], \"b\": \"\u00E9\\\"\"}");
}

// Expected texts are jinja2's; more of them stand in tests/oracle/chat_template_test.py.
TEST(ChatTemplate, ArgumentsAreThoseOfPythonAndJinja) {
  EXPECT_EQ(rendered("a\r\n{% if 1 %}\r\nb\r{% endif %}\r\n{{ 'x\ry' }}"), "a\nb\nx\ny");
  EXPECT_EQ(rendered(R"({{ '\u2581\x41\a\q\U0001F600' }})"), "\u2581A\a\\q\U0001F600");
  EXPECT_EQ(rendered("{{ 'a,b,c'.split(',', 1) }}{{ ' a b  c '.split(none, 1) }}"), "['a', 'b,c']['a', 'b  c ']");
  EXPECT_EQ(rendered("{{ ['b', 'A', 'c'] | sort(reverse=true) }}{{ [2, 10] | sort }}"), "['c', 'b', 'A'][2, 10]");
  EXPECT_EQ(rendered("{{ {'a': 2, 'b': 1} | dictsort(by='value') }}"), "[('b', 1), ('a', 2)]");
  EXPECT_EQ(rendered("{{ 'abc' | reverse }}{{ ('a', 1) }}{{ ('a',) }}{{ [('a', 1)][0][:1] }}"),
            "cba('a', 1)('a',)('a',)");
  EXPECT_EQ(rendered("{{ [{'a': {'b': [7]}}] | map(attribute='a.b.0') | join }}"), "7");
  EXPECT_EQ(rendered("{{ {'b': 1, 'a': [2]} | tojson(sort_keys=true, separators=(',', ':')) }}"),
            "{\"a\":[2],\"b\":1}");
  EXPECT_EQ(rendered("{{ [1] | tojson(false, 1) }}"), "[\n 1\n]");
  EXPECT_EQ(rendered("{{ 'aaa' | replace('a', 'b', 0) }}{{ 'aaa'.replace('a', 'b', 2) }}"), "aaabba");
  EXPECT_EQ(rendered("{{ '12abc' | int }}{{ ' 7 ' | int }}{{ 'x' | int(3) }}{{ '3.9' | int }}"), "0733");
  EXPECT_EQ(rendered("{{ 9007199254740993 + 0 }} {{ 9007199254740993 == 9007199254740992 }}"),
            "9007199254740993 False");
  EXPECT_EQ(rendered("{{ -1 | abs }} {{ (1 < 2) == true }} {{ '\u65E5x'.find('x') }}"), "1 True 1");
  EXPECT_EQ(rendered("{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}"), "11");
}

TEST(ChatTemplate, WhatIsNotImplementedIsAnErrorWithItsLine) {
  for (const char* source :
       {"{{ 'x' | upper('y') }}", "{{ 'x'.strip('a', 'b') }}", "{{ 'abc'.split(by='b') }}", "{{ 'x' | replace('y') }}",
        "{{ 3 is odd(2) }}", "{{ [1] | map(attribute='a', other=1) }}", "{{ undefined_one | tojson }}",
        "{{ {[1]: 2} }}", "{{ '\\N{DASH}' }}", "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}",
        "{{ 170141183460469231731687303715884105727 + 1 }}", "{{ 'a' | indent('nan' | float) }}",
        "{{ ('inf' | float) | int }}", "{{ [1] | tojson(indent='inf' | float) }}", "{{ ['x'] | map('upper') }}",
        "{{ 'x' | urlize }}", "{{ 'x'.upper }}", "{% include 'x' %}", "{% autoescape true %}{% endautoescape %}"})
    EXPECT_NE(failure(std::string("\n") + source).find("line 2"), std::string::npos)
        << source << "\n"
        << failure(std::string("\n") + source);
}

// The rendered text with each span in brackets of its own.
std::string bracketed(const std::string& text, const std::vector<ByteSpan>& spans) {
  std::string out;
  size_t at = 0;
  for (const ByteSpan& span : spans) {
    EXPECT_TRUE(at <= span.begin && span.begin < span.end && span.end <= text.size());
    out += text.substr(at, span.begin - at) + "[" + text.substr(span.begin, span.end - span.begin) + "]";
    at = span.end;
  }
  return out + text.substr(at);
}
std::string input_of(const std::string& source, const std::string& content) {
  const RenderedChat chat = ChatTemplate("{%- set c = messages[0].content -%}" + source)
                                .render({.messages = {{"user", content}}, .bos_token = "<s>"});
  return bracketed(chat.text, chat.input);
}

TEST(ChatTemplate, KnowsWhatCameFromMessages) {
  const RenderedChat chat = ChatTemplate(kChatMl).render(context());
  EXPECT_EQ(bracketed(chat.text, chat.input),
            "<s><|im_start|>user\n[Hi]<|im_end|>\n<|im_start|>assistant\n[Yes?]<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(input_of("{{ bos_token }}{{ c | trim }}.", " <s> "), "<s>[<s>].");
  EXPECT_EQ(input_of("{{ c[1:] + '-' ~ c[::-1] }}", "abc"), "[bc]-[cba]");
  EXPECT_EQ(input_of("{{ c.replace('b', '-') }}|{{ '-b-'.replace('b', c) }}", "abc"), "[a]-[c]|-[abc]-");
  EXPECT_EQ(input_of("{{ c.split('b') | join('+') }}{{ c.upper() | lower | title }}", "abc"), "[a]+[cAbc]");
  EXPECT_EQ(input_of("{{ {'k': [c]} | tojson }}{{ [c] }}", "\"\n"), R"({"k": ["[\"\n]"]}['["\n]'])");
  EXPECT_EQ(input_of("{{ '<%s>' % c }}{{ '<{:>3}>'.format(c) }}{{ '%s' | format(c) }}", "a"), "<[a]><  [a]>[a]");
  EXPECT_EQ(
      input_of("{% macro m(x) %}<{{ x }}>{% endmacro %}{% set s %}({{ m(c) }}){% endset %}{{ s | indent(1) }}", "a\nb"),
      "(<[a\n] [b]>)");
  EXPECT_EQ(input_of("{% for x in c %}{{ x }}.{% endfor %}{{ c | reverse }}{{ c | first }}", "ab"), "[a].[b].[baa]");
  EXPECT_EQ(input_of("{% filter upper %}x{{ c }}{% endfilter %}{{ c | length }}", "\u00DF"), "X[SS]1");
  EXPECT_EQ(input_of("{{ c * 2 }}{{ c.splitlines() | join }}{{ c.partition('.')[1] }}{{ c ~ 1 }}", "a.\n"),
            "[a.\na.\na..a.\n]1");
}

TEST(ChatTemplate, KeysAndToolsAreInput) {
  const ChatContext context{.messages = {{"user", "", R"({"role": "user", "<k>": {"x": ["<v>", 1]}})"}},
                            .tools = R"([{"<t>": "<u>"}])"};
  const RenderedChat named = ChatTemplate("{{ dict(a=1, **tools[0]) }}").render(context);
  EXPECT_EQ(bracketed(named.text, named.input), "{'a': 1, '[<t>]': '[<u>]'}");
  const RenderedChat chat = ChatTemplate("{{ messages[0] }}{{ tools | tojson }}").render(context);
  EXPECT_EQ(bracketed(chat.text, chat.input),
            "{'[role]': 'user', '[<k>]': {'[x]': ['[<v>]', 1]}}[{\"[<t>]\": \"[<u>]\"}]");
}

TEST(ChatTemplate, RolesAreTheFramesWhileTheyAreWords) {
  const RenderedChat chat = ChatTemplate("{% for m in messages %}<|{{ m.role }}|>{% endfor %}")
                                .render({.messages = {{"user", ""}, {"a|><|b", ""}}});
  EXPECT_EQ(bracketed(chat.text, chat.input), "<|user|><|[a|><|b]|>");
}

TEST(ChatTemplate, KnowsWhatIsGenerated) {
  const ChatTemplate chat(
      "{% macro say(m) %}{% generation %}{{ m.content }}!{% endgeneration %}{% endmacro %}{% for m in messages %}"
      "<{{ m.role }}>{% if m.role == 'assistant' %}{{ say(m) }}{% endif %}{% endfor %}");
  const RenderedChat said = chat.render(context());
  EXPECT_EQ(bracketed(said.text, said.generated), "<user><assistant>[Yes?!]");
  EXPECT_EQ(bracketed(said.text, said.input), "<user><assistant>[Yes?]!");
  EXPECT_TRUE(chat.marks_generation());
  EXPECT_FALSE(ChatTemplate(kChatMl).marks_generation());
  EXPECT_EQ(rendered("{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}"), "21");
}

// What holds itself, or hangs in a long chain, is freed without deep recursion and without a leak.
TEST(ChatTemplate, CirclesAndChainsAreFreed) {
  EXPECT_EQ(rendered("{% set n = namespace() %}{% set n.n = n %}{% macro f() %}{{ n.n.n is defined }}{% endmacro %}"
                     "{% set n.f = f %}{{ f() }}"),
            "True");
  EXPECT_EQ(
      rendered("{% set n = namespace(x=1) %}{% for i in range(50000) %}{% set n.x = namespace(x=n.x) %}{% endfor %}"
               "{{ n.x.x.x is defined }}"),
      "True");
  EXPECT_EQ(
      rendered("{% macro make(old) %}{% macro g() %}{{ old is defined }}{% endmacro %}{% set n.g = g %}{% endmacro "
               "%}{% set n = namespace(g=1) %}{% for i in range(20000) %}{{ make(n.g) }}{% endfor %}{{ n.g() }}"),
      "True");
  EXPECT_EQ(rendered("{% set n = namespace(l=1) %}{% for i in range(20000) %}{% for x in [n.l] %}{% set n.l = loop %}"
                     "{{ loop.changed(loop) and '' }}{% endfor %}{% endfor %}{{ n.l is defined }}"),
            "True");
  EXPECT_NE(failure("{% for x in [1] %}{{ loop.changed(loop) and x.y.z }}{% endfor %}"), "");
}

TEST(ChatTemplate, ReasoningHasThreeNames) {
  for (const char* name : {"reasoning", "thinking", "reasoning_content"})
    EXPECT_EQ(
        ChatTemplate("{{ messages[0].reasoning_content }}{{ messages[0].thinking }}")
            .render({.messages = {{"assistant", "", std::string(R"({"role": "assistant", ")") + name + R"(": "r"})"}}})
            .text,
        "rr");
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  EXPECT_NE(failure("a\nb\n{% if %}").find("line 3"), std::string::npos) << failure("a\nb\n{% if %}");
  EXPECT_NE(failure("\n{{ x.y.z }}").find("line 2"), std::string::npos) << failure("\n{{ x.y.z }}");
  EXPECT_NE(failure("{{ raise_exception('roles must alternate') }}").find("roles must alternate"), std::string::npos);
  for (const char* broken :
       {"{{ 'open", "{% for x in y %}", "{% endif %}", "{{ 1 + }}", "{% unknown %}", "{{ x | nope }}",
        "{{ x is nope }}", "{{ [1, }}", "{{ a.99999999999999999999 }}", "{{ 1 // 0 }}"})
    EXPECT_NE(failure(broken), "") << broken;
}

// Each would take all memory, all time or the stack.
TEST(ChatTemplate, HostileTemplatesEndInAnError) {
  const std::string space = "{% set n = namespace(x='aaaaaaaa', l=[1, 2]) %}";
  const auto grow = [&](const std::string& change) {
    return space + "{% for i in range(60) %}" + change + "{% endfor %}";
  };
  const std::string hostile[] = {
      grow("{% set n.x = n.x ~ n.x %}"),
      grow("{% set n.x = n.x.replace('a', 'aaaaaaaaaaaa') %}"),
      grow("{% set n.x = n.x | list | join('bbbbbbbbbbbb') %}"),
      grow("{% set n.l = n.l + n.l %}"),
      grow("{% set n.l = [n.l, n.l] %}") + "{{ n.l }}",
      grow("{% set n.l = [n.l, n.l] %}") + "{{ n.l | tojson }}",
      space + "{% set n.t = 1 %}" + "{% for i in range(60) %}{% set n.t = (n.t, n.t) %}{% endfor %}{{ {n.t: 1} }}",
      space + "{% for i in range(99999) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}",
      space + "{% set n.n = n %}{{ n }}",
      space + "{% set n.n = [n] %}{{ n | tojson }}",
      "{{ 'x' * 1000000000000 }}",
      "{{ [1, [2]] | tojson(indent=1000000000) }}",
      "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
      "{{ range(9223372036854775807) | length }}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{{ " + repeated("1+", 200000) + "1 }}",
      "{{ a" + repeated(".b", 200000) + " }}",
      "{{ " + repeated("(", 100000) + "1" + repeated(")", 100000) + " }}",
      "{{ " + repeated("not ", 100000) + "1 }}",
      repeated("{% if 1 %}", 50000),
      "{% if 0 %}" + repeated("{% elif 0 %}", 80000) + "{% endif %}",
      std::string(size_t{2} << 20, 'x'),
      // Minutes in one call, or memory by the copies of one list:
      "{% set a = 'a' * 1000000 %}{{ a.strip(('b' * 999999) ~ 'a') }}",
      "{% set a = 'a' * 2000000 %}{% set b = a.split('a') %}",
      "{% set l = range(90000) %}{% for i in l %}{{ l | select('in', l) | first }}{% endfor %}",
      "{% set l = range(90000) %}{% for i in l %}{{ -1 in l }}{% endfor %}",
      "{% set a = 'x' * 4000000 %}{% for i in range(9999) %}{% set b = a | upper %}{% endfor %}",
      "{% set a = 'x' * 4000000 %}{% for i in range(9999) %}{% set b %}{{ a }}{% endset %}{% endfor %}",
      "{% set a = 'x' * 4000000 %}{% for i in range(99999) %}{{ a is lower }}{{ a | wordcount }}{% endfor %}",
      "{% set a = 'x' * 4000000 %}{% for i in range(99999) %}{{ a[5] }}{{ a.find('y') }}{% endfor %}",
      "{% set l = ('a ' * 100000).split() %}{% for i in l %}{{ l | sort | length }}{% endfor %}",
      "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
      "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      "{{ 10 ** 10 ** 10 }}",
      "{{ 'a'.ljust(10 ** 12) }}",
      "{{ '%99999s' * 999 % ((1,) * 999) }}",
      "{{ [1] | slice(10 ** 12) | list }}",
      "{{ [1] | batch(10 ** 12, 1) | list }}",
      space + "{% for i in range(40) %}{% set n.l = n.l + [range(99999) | list] %}{% endfor %}",
  };
  for (const std::string& source : hostile) EXPECT_NE(failure(source), "") << source.substr(0, 120);
  const std::string long_text = "{% set a = 'a' * 1000000 %}{% set b = ('a' * 500000) ~ 'b' %}";
  EXPECT_EQ(
      rendered(long_text + "{{ a.find(b) }} {{ b in a }} {{ a.replace(b, '') | length }} {{ a.split(b) | length }}"),
      "-1 False 1000000 1")
      << "in linear time";
  EXPECT_EQ(rendered("{{ range(0, 9223372036854775807, 9223372036854775807) | list }}"), "[0]");
  EXPECT_EQ(rendered("{{ 'abc'[::9223372036854775807] }}{{ 'abc'[-9223372036854775807:] }}"), "aabc");
  EXPECT_EQ(rendered("{{ ''.__class__ }}{{ messages.__class__ }}"), "") << "nothing of the host is reachable";
}

}  // namespace
}  // namespace attar
