#include "runtime/text/grammar/gbnf.h"

#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/text/grammar/automaton.h"
#include "runtime/text/grammar/states.h"

namespace attar::runtime {
namespace {

std::string message_of(const std::string& grammar) {
  try {
    parse_gbnf(grammar, "g.gbnf");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    return error.what();
  }
  return "";
}

bool accepts(const std::string& grammar, const std::string& text) {
  const Automaton automaton = compile(parse_gbnf(grammar, "g"));
  GrammarStates states(automaton);
  const uint32_t state = states.step(states.start(), text);
  return state != GrammarStates::kDead && states.may_end(state);
}

TEST(Gbnf, ReadsWhatUsersOfLlamaCppWrite) {
  const std::string json = R"(# JSON, as grammars/json.gbnf has it
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws

# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\n" [ \t]{0,20}
)";
  EXPECT_TRUE(accepts(json, R"({"a": [1, -2.5e3, "x\"\u00e9"], "b": {"c": null}})"));
  EXPECT_TRUE(accepts(json, "{}"));
  EXPECT_FALSE(accepts(json, "{\"a\" 1}"));
  EXPECT_FALSE(accepts(json, "[1]")) << "root is an object";
  const std::string list =
      "root ::= item+\n\n# a comment\nitem ::= \"- \" [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]+ \"\\n\"";
  EXPECT_TRUE(accepts(list, "- one\n- \u65E5\n"));
  EXPECT_FALSE(accepts(list, "- one"));
  const std::string chess =
      "root ::= \"1. \" move \" \" move \"\\n\" ([1-9] [0-9]? \". \" move \" \" move \"\\n\")+\r\nmove ::= (pawn | "
      "nonpawn | castle) [+#]?\r\n"
      "nonpawn ::= [NBKQR] [a-h]? [1-8]? \"x\"? [a-h] [1-8]\npawn ::= ([a-h] \"x\")? [a-h] [1-8] (\"=\" "
      "[NBKQR])?\ncastle ::= \"O-O\" \"-O\"?";
  EXPECT_TRUE(accepts(chess, "1. e4 e5\n2. Nf3 O-O\n"));
}

TEST(Gbnf, LinesAlternativesAndEmptyRules) {
  EXPECT_TRUE(accepts("root ::= \"a\"\n  | \"b\"\n  |\n \"c\"", "b"));
  EXPECT_TRUE(accepts("root ::= \"a\"\n  | \"b\"\n  |\n \"c\"", "c"));
  EXPECT_TRUE(accepts("root ::= x \"b\"\nx ::=\ny ::= \"c\"", "b"));
  EXPECT_TRUE(accepts("root ::= (\"a\" |) \"b\"", "b"));
  EXPECT_TRUE(accepts("\n\n  root  ::=  \"a\" # end", "a"));
  EXPECT_TRUE(accepts("root ::= \"a\" | x |\nx ::= \"c\"", "")) << "an empty alternative at the end";
  EXPECT_TRUE(accepts("root ::= \"a\"{2, 3}", "aaa"));
}

TEST(Gbnf, Escapes) {
  EXPECT_TRUE(accepts(R"(root ::= "\n\t\r\"\\\x41\u00e9\U0001F600")", "\n\t\r\"\\A\u00e9\U0001F600"));
  EXPECT_TRUE(accepts(R"(root ::= [\]\[\-\^a-]+)", "]-[^a-"));
  EXPECT_TRUE(accepts("root ::= [\u00e0-\u00ef]", "\u00e9")) << "characters as they are";
  EXPECT_TRUE(accepts("root ::= \"#\" # \"no\"", "#"));
}

TEST(Gbnf, SaysWhereAndWhatWasExpected) {
  const auto says = [](const std::string& grammar, const std::string& part) {
    const std::string message = message_of(grammar);
    EXPECT_NE(message.find(part), std::string::npos) << grammar << "\n" << message;
  };
  says("root ::= \"a", "g.gbnf:1:10: a literal is not closed");
  says("root ::= \"a\"\nx ::= [a", "g.gbnf:2:7: a character class is not closed");
  says("root = \"a\"", "g.gbnf:1:6: the rule `root` has no ::= (expected ::=, got = \"a\")");
  says("root ::= (\"a\" | \"b\"", "g.gbnf:1:20: a bracket is not closed (expected ), got the end)");
  says("root ::= \"a\" )", "g.gbnf:1:14: the rule `root` does not end here");
  says("root ::= \"\u00e9\" %", "g.gbnf:1:14");
  says("root ::= nubmer\nnumber ::= [0-9]", "g.gbnf:1:10: the rule `nubmer` is not defined; did you mean `number`?");
  says("start ::= \"a\"", "no rule called root");
  says("", "no rule called root (expected root ::= ..., got no rules at all)");
  says("root ::= \"a\"\nroot ::= \"b\"", "g.gbnf:2:1: the rule `root` is defined twice");
  says("root ::= \"a\"{3,2}", "wrong way round");
  says("root ::= \"a\"{}", "no number");
  says("root ::= \"a\"{99999}", "at most 65536");
  says("root ::= \"a\"{2", "a count is not closed");
  says("root ::= [b-a]", "wrong way round");
  says("root ::= []", "no character is in this class");
  says("root ::= [^\\x00-\\U0010FFFF]", "no character is in this class");
  says("root ::= \"\\q\"", "g.gbnf:1:11: the escape is unknown");
  says("root ::= \"\\u12\"", "4 hexadecimal digits");
  says("root ::= \"\\ud800\"", "no character");
  says("root ::= <think>", "angle brackets");
  says("root ::= \"a\" {2}", "does not end here");
  says("root ::= \"a\" x ::= \"b\"", "does not end here");
  says("root ::= *", "does not end here");
  says("root ::= \"\xff\"", "is not UTF-8 at byte 11");
  says("root ::= " + std::string(60000, '(') + "\"a\"", "nested too deeply");
  says("root ::= \"a\"" + std::string(60000, '*'), "counts one behind the other");
  says(std::string(size_t{2} << 20, ' '), "too long");
}

// However long a name is: it is shown in part, and compared with no other for minutes.
TEST(Gbnf, LongNamesAreShownInPart) {
  const std::string name(400000, 'a');
  const std::string undefined = message_of("root ::= " + name + "b\n" + name + " ::= \"x\"");
  EXPECT_NE(undefined.find("g.gbnf:1:10: the rule `aaa"), std::string::npos) << undefined.substr(0, 400);
  EXPECT_NE(undefined.find("aaa...` is not defined"), std::string::npos) << undefined.substr(0, 400);
  EXPECT_LT(undefined.size(), 400u);
  EXPECT_LT(message_of("root ::= rooot\n" + name + " ::= \"x\"").size(), 400u);
  try {
    compile(parse_gbnf("root ::= \"a\"\n" + name + " ::= \"x\" " + name, "g"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("never ends"), std::string::npos);
    EXPECT_LT(std::string(error.what()).size(), 400u);
  }
}

}  // namespace
}  // namespace attar::runtime
