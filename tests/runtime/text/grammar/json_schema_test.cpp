#include "runtime/text/grammar/schema/json_schema.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "runtime/base/error.h"
#include "runtime/text/grammar/automaton.h"
#include "runtime/text/grammar/states.h"
#include "tests/runtime/text/grammar/grammar_reference.h"

namespace attar::runtime {
namespace {

class Schema {
 public:
  explicit Schema(const std::string& text) : rules(parse_json_schema(text, "s.json")), automaton(compile(rules)) {}

  bool accepts(const std::string& text) {
    states.begin_token();
    const uint32_t state = states.step(states.start(), text);
    return state != GrammarStates::kDead && states.may_end(state);
  }

  Rules rules;
  Automaton automaton;
  GrammarStates states{automaton};
};

std::string message_of(const std::string& schema) {
  try {
    const Schema read(schema);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect(const std::string& schema, const std::vector<std::string>& right, const std::vector<std::string>& wrong) {
  Schema read(schema);
  for (const std::string& text : right) {
    EXPECT_TRUE(read.accepts(text)) << schema << "\n" << text;
    EXPECT_TRUE(nlohmann::json::accept(text)) << text;
  }
  for (const std::string& text : wrong) EXPECT_FALSE(read.accepts(text)) << schema << "\n" << text;
}

TEST(JsonSchema, Objects) {
  const std::string person =
      R"({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"},
    "x": {"type": "null"}}, "required": ["name"]})";
  expect(person,
         {R"({"name":"A"})", R"({"name": "A", "age": 3})", R"({"name": "A", "x": null})",
          "{\n  \"name\": \"A\",\n  \"age\": -12,\n  \"x\": null\n}"},
         {"{}", R"({"age":3})", R"({"age":3,"name":"A"})", R"({"name":"A",})", R"({"name":"A" "age":3})",
          R"({"name":"A","y":1})", R"({"name":1})"});
  expect(R"({"properties": {"a": {"const": 1}, "b": {"const": 2}}})",
         {"{}", R"({"a":1})", R"({"b":2})", R"({"a":1,"b":2})"}, {R"({"b":2,"a":1})", R"({,"b":2})"});
  expect(
      R"({"type": "object", "properties": {"ab": {"type": "null"}}, "required": ["ab"], "additionalProperties": {"type": "boolean"}})",
      {R"({"ab":null})", R"({"ab":null,"a":true,"abc":false,"":true})"},
      {R"({"a":true})", R"({"ab":null,"ab":true})", R"({"ab":null,"c":1})", R"({"ab":null,"\u0061b":true})"});
  expect(R"({"type": "object"})", {"{}", R"({"a":[1,{"b":null}]})"}, {"[]", "{\"a\"}"});
  expect(R"({"type": "object", "additionalProperties": false})", {"{}"}, {R"({"a":1})"});
  expect(R"({"type": "object", "required": ["z"]})", {R"({"z":[1]})"}, {"{}"});
  expect(R"({"required": ["a", "b", "a"], "properties": {"b": {"const": 1}}})", {R"({"b":1,"a":[]})"},
         {R"({"b":1})", R"({"a":1,"b":1})", R"({"b":1,"a":1,"a":1})"});
  expect(R"({"type": "object", "properties": {"a\"\\é": {"const": 1}, "n": false}})", {R"({"a\"\\é":1})", "{}"},
         {R"({"n":1})"});
}

TEST(JsonSchema, Arrays) {
  expect(R"({"type": "array", "items": {"type": "boolean"}})", {"[]", "[true]", "[true, false,true]"},
         {"[1]", "[true,]", "[,true]"});
  expect(R"({"type": "array", "items": {"const": 1}, "minItems": 2, "maxItems": 3})", {"[1,1]", "[1,1,1]"},
         {"[]", "[1]", "[1,1,1,1]"});
  expect(R"({"type": "array", "items": {"const": 1}, "minItems": 1, "maxItems": 1})", {"[1]"}, {"[]", "[1,1]"});
  expect(R"({"type": "array", "maxItems": 0})", {"[]"}, {"[1]"});
  expect(R"({"type": "array", "minItems": 1})", {"[{}]", "[1,\"a\"]"}, {"[]"});
  expect(R"({"prefixItems": [{"const": 1}, {"const": 2}, {"const": 3}], "minItems": 2})", {"[1,2]", "[1,2,3]"},
         {"[1]", "[]", "[1,2,3,4]", "[2,1]"});
  expect(R"({"prefixItems": [{"const": 1}], "items": {"const": 9}, "minItems": 0, "maxItems": 3})",
         {"[]", "[1]", "[1,9]", "[1,9,9]"}, {"[9]", "[1,9,9,9]"});
  expect(R"({"prefixItems": [{"const": 1}, {"const": 2}], "items": {"const": 9}, "minItems": 4})",
         {"[1,2,9,9]", "[1,2,9,9,9]"}, {"[1,2,9]"});
  expect(R"({"prefixItems": [{"const": 1}, {"const": 2}], "items": false, "maxItems": 1})", {"[]", "[1]"}, {"[1,2]"});
}

TEST(JsonSchema, StringsValuesAndTypes) {
  expect(R"({"type": "string"})", {R"("")", R"("a\"b\\\u00e9 \ud83d\ude00\n")", "\"\u65E5\""},
         {"\"\n\"", R"("\x")", R"("\ud800")", R"("\udc00")", "\"a", "a"});
  expect(R"({"type": "string", "minLength": 2, "maxLength": 3})",
         {R"("ab")", "\"\u65E5\u65E5\U0001F600\"", R"("\u00e9\n")"}, {R"("a")", R"("abcd")"});
  expect(R"({"enum": ["a b", 1, null, {"k": [1, "x"]}, []]})",
         {R"("a b")", "1", "null", R"({"k":[1,"x"]})", R"({"k": [1, "x"]})", "[]"}, {"2", R"("a")"});
  expect(R"({"type": ["string", "null"], "enum": ["a", 1, null]})", {R"("a")", "null"}, {"1"});
  expect(R"({"const": 1.5})", {"1.5"}, {"1"});
  expect(R"({"type": ["boolean", "null", "integer"]})", {"true", "null", "12"}, {"1.5", "\"a\""});
  expect("{}", {"1", "\"a\"", "{}", "[[]]", "null", "-1.5e-3"}, {"01", "1.", ".5", "+1", "1e999"});
  expect(R"({"anyOf": [{"type": "string"}, {"type": "null"}]})", {"\"a\"", "null"}, {"1"});
  expect(R"({"allOf": [{"type": "null"}]})", {"null"}, {"1"});
}

TEST(JsonSchema, PatternsAndFormats) {
  expect(R"({"pattern": "^[A-Z]{2}-\\d+$"})", {R"("AB-12")"}, {R"("AB-")", R"("xAB-1")", R"("AB-1x")"});
  expect(R"({"pattern": "ab|^c"})", {R"("xaby")", R"("cxx")", R"("\nab")"}, {R"("xc")", R"("a")"});
  expect(R"({"pattern": "^(a|bc)*?d?$"})", {R"("")", R"("abcad")"}, {R"("b")"});
  expect(R"({"pattern": "^\"\\\\.\\n$"})", {R"("\"\\x\n")"}, {R"(""\x")"});
  expect(R"({"pattern": "^[^a\\s]\\w[\\d.-]\\u00e9(?:x)(?<n>y)$"})", {"\"b_-\u00e9xy\""}, {"\"a_-\u00e9xy\""});
  expect(R"({"format": "date"})", {R"("2024-02-28")", R"("1999-12-31")"},
         {R"("2024-02-30")", R"("2024-13-01")", R"("24-01-01")"});
  expect(R"({"format": "date-time"})", {R"("2024-02-28T23:59:59Z")", R"("2024-02-28T23:59:59.25+01:00")"},
         {R"("2024-02-28")"});
  expect(R"({"format": "time"})", {R"("00:00:00Z")"}, {R"("24:00:00Z")"});
  expect(R"({"format": "uuid"})", {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123")"});
  expect(R"({"format": "ipv4"})", {R"("255.0.10.1")"}, {R"("256.0.0.1")", R"("1.2.3")"});
  expect(R"({"format": "email"})", {R"("a.b@example.org")"}, {R"("a@b")"});
}

// Every whole number near the bounds, for random bounds.
TEST(JsonSchema, WholeNumbersWithinBounds) {
  std::mt19937 random(5);
  for (int i = 0; i < 120; ++i) {
    const int scale = i % 3 == 0 ? 12 : i % 3 == 1 ? 130 : 2500;
    int low = static_cast<int>(random() % (2 * scale)) - scale, high = static_cast<int>(random() % (2 * scale)) - scale;
    if (low > high) std::swap(low, high);
    const bool open = i % 2 == 0;
    if (open && high - low < 2) continue;
    Schema schema("{\"type\": \"integer\", \"" + std::string(open ? "exclusiveMinimum" : "minimum") +
                  "\": " + std::to_string(low) + ", \"" + (open ? "exclusiveMaximum" : "maximum") +
                  "\": " + std::to_string(high) + "}");
    for (int n = -2700; n <= 2700; ++n)
      ASSERT_EQ(schema.accepts(std::to_string(n)), open ? low < n && n < high : low <= n && n <= high)
          << low << " " << high << " " << n;
    EXPECT_FALSE(schema.accepts("-0"));
    EXPECT_FALSE(schema.accepts("01"));
  }
  expect(R"({"type": "integer", "minimum": 0.5})", {"1", "12345678901234"}, {"0", "-1"});
  expect(R"({"type": "integer", "maximum": -1})", {"-1", "-12345678901234"}, {"0", "1"});
  expect(R"({"type": "integer"})", {"0", "-7", "9999999999999999"}, {"-0", "1.0", "99999999999999999"});
}

TEST(JsonSchema, NumbersWithinBounds) {
  const std::vector<std::string> texts{"0",    "0.0",  "0.5",  "-0.5",  "1",    "1.0",   "1.5",  "2",    "2.0",
                                       "2.00", "2.5",  "-1",   "-1.0",  "-1.5", "-2",    "-2.5", "9",    "9.99",
                                       "10",   "10.0", "10.1", "11",    "99.5", "100",   "101",  "-10",  "-9.5",
                                       "-100", "3",    "3.25", "0.001", "1.01", "-0.25", "12",   "12.75"};
  for (int low = -3; low <= 12; ++low)
    for (int high = low; high <= 12; high += 3)
      for (const int open : {0, 1, 2, 3}) {
        const std::string schema =
            "{\"type\": \"number\", \"" + std::string((open & 1) != 0 ? "exclusiveMinimum" : "minimum") +
            "\": " + std::to_string(low) + ", \"" + ((open & 2) != 0 ? "exclusiveMaximum" : "maximum") +
            "\": " + std::to_string(high) + "}";
        if (low == high && open != 0) {
          EXPECT_NE(message_of(schema).find("allows nothing"), std::string::npos);
          continue;
        }
        Schema read(schema);
        for (const std::string& text : texts) {
          const double x = std::stod(text);
          const bool inside = ((open & 1) != 0 ? x > low : x >= low) && ((open & 2) != 0 ? x < high : x <= high);
          ASSERT_EQ(read.accepts(text), inside) << schema << " " << text;
        }
      }
  expect(R"({"type": "number", "minimum": 0})", {"0", "0.25", "123456.5"}, {"-1", "-0", "1e5"});
  expect(R"({"type": "number", "exclusiveMaximum": 0})", {"-0.25", "-7"}, {"0", "-0", "-0.0"});
  expect(R"({"type": "number"})", {"1e5", "-2.5E-10"}, {"1e", "1e555"});
}

TEST(JsonSchema, ReferencesAndRecursion) {
  expect(
      R"({"$defs": {"tree": {"type": "object", "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
             "required": ["v"]}}, "$ref": "#/$defs/tree"})",
      {R"({"v":1})", R"({"v":1,"kids":[{"v":2,"kids":[{"v":3}]},{"v":4}]})"}, {R"({"kids":[]})"});
  expect(R"({"type": "array", "items": {"$ref": "#"}})", {"[]", "[[],[[]]]"}, {"[1]"});
  expect(R"({"properties": {"a": {"const": 1}, "b": {"$ref": "#/properties/a"}}})", {R"({"b":1})"}, {R"({"b":2})"});
  expect(R"({"definitions": {"a/b~c": {"const": 1}}, "$ref": "#/definitions/a~1b~0c"})", {"1"}, {"2"});
  expect(R"({"prefixItems": [{"const": 7}, {"$ref": "#/prefixItems/0"}], "minItems": 2})", {"[7,7]"}, {"[7,8]"});
}

TEST(JsonSchema, OneOfMustTellItsAlternativesApart) {
  expect(R"({"oneOf": [{"type": "string"}, {"type": "integer"}]})", {"1", "\"a\""}, {"1.5"});
  expect(
      R"({"oneOf": [{"properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["kind"], "type": "object"},
                       {"properties": {"kind": {"const": "b"}}, "required": ["kind"], "type": "object"}]})",
      {R"({"kind":"a","x":1})", R"({"kind":"b"})"}, {R"({"kind":"c"})"});
  expect(R"({"oneOf": [{"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]},
                       {"type": "object", "properties": {"b": {"type": "null"}}, "additionalProperties": false}]})",
         {R"({"a":null})", "{}"}, {});
  for (const char* schema :
       {R"({"oneOf": [{"type": "number"}, {"type": "integer"}]})", R"({"oneOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]})",
        R"({"oneOf": [{"type": "object", "properties": {"a": {}}}, {"type": "object", "properties": {"b": {}}}]})",
        R"({"oneOf": [{"$ref": "#"}, {"type": "null"}]})"})
    EXPECT_NE(message_of(schema).find("s.json at #/oneOf: a value could be both 0 and 1"), std::string::npos)
        << message_of(schema);
}

std::string repeated(const std::string& item, int n) {
  std::string all = item;
  for (int i = 1; i < n; ++i) all += "," + item;
  return all;
}

TEST(JsonSchema, OneOfComparesSoMuchAndNoMore) {
  std::string kinds;
  for (int i = 0; i < 400; ++i)
    kinds += (i > 0 ? "," : "") + (R"({"type": "object", "properties": {"kind": {"const": )" + std::to_string(i)) +
             R"(}}, "required": ["kind"]})";
  EXPECT_EQ(message_of("{\"oneOf\": [" + kinds + "]}"), "");
  const auto two_lists = [](int n) {
    return "{\"oneOf\": [{\"enum\": [" + repeated("0", n) + "]}, {\"enum\": [" + repeated("1", n) + "]}]}";
  };
  EXPECT_EQ(message_of(two_lists(1000)), "");
  const std::string message = message_of(two_lists(20000));
  EXPECT_NE(message.find("s.json at #/oneOf: its schemas are too many, or too large"), std::string::npos) << message;
}

// Two alternatives, each of them 250 times the same schema: 62,500 comparisons. `names`: more of $defs, with commas.
std::string compared_often(const std::string& a, const std::string& b, const std::string& names = "") {
  const auto many = [](const std::string& name) {
    return "{\"anyOf\": [" + repeated("{\"$ref\": \"#/$defs/" + name + "\"}", 250) + "]}";
  };
  return "{\"oneOf\": [" + many("a") + ", " + many("b") + "], \"$defs\": {" + names + "\"a\": " + a + ", \"b\": " + b +
         "}}";
}

// Seven names to the end of each $ref, behind ten thousand others.
TEST(JsonSchema, OneOfLooksForANameOnce) {
  const auto refers = [](const std::string& name) { return "{\"$ref\": \"#/$defs/" + name + "\"}"; };
  std::string names;
  for (int i = 0; i < 10000; ++i) names += "\"f" + std::to_string(i) + "\": {}, ";
  for (const std::string name : {"a", "b"})
    for (int i = 1; i < 6; ++i)
      names += "\"" + name + std::to_string(i) + "\": " + refers(name + std::to_string(i + 1)) + ", ";
  names += R"("a6": {"type": "string"}, "b6": {"type": "null"}, )";
  EXPECT_EQ(message_of(compared_often(refers("a1"), refers("b1"), names)), "");
}

TEST(JsonSchema, OneOfCountsWhatItComparesAgain) {
  const auto expect_too_large = [](const std::string& schema) {
    const std::string message = message_of(schema);
    EXPECT_NE(message.find("/oneOf: its schemas are too many, or too large"), std::string::npos) << message;
  };
  const std::string ones = repeated("1", 50000);
  std::string required = "\"k\"";
  for (int i = 0; i < 9000; ++i) required += ",\"" + std::to_string(i) + "\"";
  const auto with_kind = [&](int kind) {
    return R"({"type": "object", "properties": {"k": {"const": )" + std::to_string(kind) + "}}, \"required\": [" +
           required + "]}";
  };
  expect_too_large(compared_often("{\"enum\": [" + ones + "]}", R"({"type": "null"})"));
  expect_too_large(compared_often("{\"const\": [" + ones + ", 0]}", "{\"const\": [" + ones + ", 2]}"));
  expect_too_large(compared_often(with_kind(0), with_kind(1)));
  // In many lists, each of them small enough.
  const auto several = [](int n) {
    return "{\"prefixItems\": [" + repeated(R"({"oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]})", n) +
           "], \"$defs\": {\"a\": {\"enum\": [" + repeated("0", 1000) + "]}, \"b\": {\"enum\": [" +
           repeated("1", 1000) + "]}}}";
  };
  EXPECT_EQ(message_of(several(10)), "");
  expect_too_large(several(100));
}

// Each $ref into what is around a schema reads it once more.
TEST(JsonSchema, WhatIsReadAgainAndAgainIsTooLarge) {
  std::string inside = "{\"enum\": [" + repeated("1", 50000) + "]}", to = "#/$defs/t", references;
  for (int i = 0; i < 60; ++i) {
    inside = "{\"items\": " + inside + "}";
    references += (i > 0 ? ", " : "") + ("{\"$ref\": \"" + to + "\"}");
    to += "/items";
  }
  const std::string message = message_of("{\"anyOf\": [" + references + "], \"$defs\": {\"t\": " + inside + "}}");
  EXPECT_NE(message.find("s.json: is too large a grammar (expected at most 524288 parts)"), std::string::npos)
      << message;
}

TEST(JsonSchema, RulesAreCalledByTheBeginningOfTheirPointer) {
  const Rules rules = parse_json_schema("{\"properties\": {\"" + std::string(100000, 'k') + "\": {\"anyOf\": [" +
                                            repeated(R"({"minItems": 1})", 1000) + "]}}}",
                                        "s.json");
  EXPECT_GT(rules.rules.size(), 1000u);
  for (const Rules::Rule& rule : rules.rules) EXPECT_LT(rule.name.size(), 200u);
}

TEST(JsonSchema, APatternOfThousandsOfAlternatives) {
  std::string ways = "ab";
  for (int i = 1; i < 60000; ++i) ways += "|ab";
  EXPECT_EQ(message_of(R"({"pattern": "^()" + ways + R"()$"})"), "");
}

// All bytes that may come anywhere in a list, asked at once as a walk along a vocabulary does.
TEST(JsonSchema, AListOfThousandsIsFollowedLikeAShortOne) {
  std::string letters, list;
  for (char c = '#'; c <= 'b'; ++c)
    if (c != '\\') letters += c;
  const size_t n = letters.size();
  for (size_t i = 0; i < 43000; ++i)
    list += (i > 0 ? ",\"" : "\"") + std::string{letters[i % n], letters[i / n % n], letters[i / n / n]} + "\"";
  Schema read("{\"enum\":[" + list + "]}");
  read.states.begin_token();
  std::set<uint32_t> seen{GrammarStates::kDead, read.states.start()};
  std::vector<uint32_t> open{read.states.start()};
  while (!open.empty()) {
    const uint32_t state = open.back();
    open.pop_back();
    for (int byte = 0; byte < 256; ++byte)
      if (const uint32_t next = read.states.step(state, static_cast<uint8_t>(byte)); seen.insert(next).second)
        open.push_back(next);
  }
  EXPECT_TRUE(read.accepts("\"##%\""));
  EXPECT_FALSE(read.accepts("\"##b\""));
}

TEST(JsonSchema, RefusesByPointerWhatItCannotHonour) {
  const auto says = [](const std::string& schema, const std::string& part) {
    const std::string message = message_of(schema);
    EXPECT_NE(message.find(part), std::string::npos) << schema << "\n" << message;
  };
  says("{\"type\": ", "s.json: is no JSON");
  says(R"({"type": "integer", "minimum": 1e999})", "s.json: is no JSON");
  says("[1]", "s.json at #: is no schema");
  says("false", "allows nothing");
  says(R"({"type": "object", "properties": {"a/b": {"type": "integer", "not": {}}}})",
       "s.json at #/properties/a~1b: the keyword not cannot be honoured");
  says(R"({"type": "object", "propertis": {}})", "did you mean `properties`?");
  says(R"({"type": "obect"})", "the type is unknown");
  for (const char* keyword : {"if", "then", "not", "patternProperties", "propertyNames", "dependentRequired",
                              "contains", "minProperties", "unevaluatedItems"})
    says(std::string("{\"") + keyword + "\": {}}", std::string("the keyword ") + keyword + " cannot be honoured");
  says(R"({"type": "array", "uniqueItems": true})", "uniqueItems");
  says(R"({"type": "number", "multipleOf": 0.1})", "multipleOf");
  says(R"({"type": "number", "minimum": 0.5})", "not whole");
  says(R"({"type": "integer", "minimum": 3, "maximum": 2})", "allows nothing");
  says(R"({"type": "string", "minLength": 3, "maxLength": 2})", "allows nothing");
  says(R"({"type": "string", "minLength": -1})", "impossible value");
  says(R"({"type": "string", "maxLength": 70000})", "impossible value");
  says(R"({"type": "string", "pattern": "^a", "maxLength": 3})", "maxLength cannot be honoured beside pattern");
  says(R"x({"type": "string", "pattern": "(?=a)"})x", "s.json at #/pattern: character 3 of the pattern: look-around");
  says(R"({"type": "string", "pattern": "a$b"})", "$ stands before the end");
  says(R"x({"type": "string", "pattern": "(a|^b)"})x", "^ stands behind the beginning");
  says(R"({"type": "string", "pattern": "(a"})", "not closed");
  says(R"x({"type": "string", "pattern": "a)"})x", "not opened");
  says(R"({"type": "string", "pattern": "\\b"})", "\\b is not read");
  says(R"({"type": "string", "pattern": "a**"})", "a count stands behind a count");
  says(R"({"type": "string", "pattern": ")" + std::string(5000, '(') + R"("})", "nested too deeply");
  says(R"({"type": "string", "format": "hostname"})",
       "(expected date, time, date-time, uuid, ipv4, email, got hostname)");
  says(R"({"anyOf": [{"type": "null"}], "properties": {}})", "properties cannot be honoured beside anyOf");
  says(R"({"allOf": [{"type": "null"}, {"type": "null"}]})", "several schemas at once");
  says(R"({"anyOf": []})", "no list of schemas");
  says(R"({"enum": []})", "no list of values");
  says(R"({"enum": ["a"], "type": "integer"})", "allows nothing");
  says(R"({"enum": ["a"], "minLength": 1})", "cannot be honoured beside enum");
  says(R"({"$ref": "other.json"})", "cannot be followed");
  says(R"({"$ref": "#/$defs/a"})", "names nothing");
  says(R"({"$ref": "#"})", "the rule `#` never ends");
  says(R"({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})", "never ends");
  says(R"({"type": "object", "required": ["a"], "additionalProperties": false})", "a is required and no property");
  says(R"({"type": "object", "required": [1]})", "no list of names");
  says(R"({"type": "object", "properties": []})", "no object of schemas");
  says(std::string(5000, '['), "nests too deeply");
  EXPECT_EQ(
      message_of(
          R"({"title": "t", "description": "d", "default": 1, "examples": [1], "$schema": "s", "$id": "i", "$comment": "c", "type": "null"})"),
      "");
}

// The rules that a schema becomes, by the automaton and the plain way, on texts that are almost right.
TEST(JsonSchema, IsThePlainReadingOfItsRules) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"type": "object", "properties": {"a": {"type": "integer", "minimum": -12, "maximum": 340}, "b": {"enum": ["x", "xy"]}}, "required": ["b"],
          "additionalProperties": {"type": "array", "items": {"type": "null"}, "maxItems": 2}})",
       R"({"a": 33, "b": "xy", "ab": [null, null]})"},
      {R"({"type": "array", "items": {"type": "string", "pattern": "^(ab|a)+b$"}, "minItems": 1})",
       R"(["aab", "abb"])"},
      {R"({"anyOf": [{"type": "number", "minimum": 1, "maximum": 20}, {"format": "date"}]})", R"("2024-02-28")"}};
  std::mt19937 random(3);
  for (const auto& [schema, right] : cases) {
    Schema read(schema);
    ASSERT_TRUE(read.accepts(right)) << right;
    for (int i = 0; i < 60; ++i) {
      std::string text = right;
      for (int n = static_cast<int>(random() % 3); n > 0; --n) {
        const size_t at = random() % text.size();
        if (random() % 2 == 0)
          text.erase(at, 1);
        else
          text[at] = right[random() % std::string(right).size()];
      }
      uint32_t state = read.states.start();
      for (size_t n = 0; n <= text.size(); ++n) {
        if (n > 0) state = read.states.step(state, static_cast<uint8_t>(text[n - 1]));
        const Reading expected = read_reference(read.rules, std::string_view(text).substr(0, n));
        ASSERT_EQ(state != GrammarStates::kDead, expected.is_begun) << text.substr(0, n);
        ASSERT_EQ(state != GrammarStates::kDead && read.states.may_end(state), expected.is_whole) << text.substr(0, n);
      }
    }
  }
}

}  // namespace
}  // namespace attar::runtime
