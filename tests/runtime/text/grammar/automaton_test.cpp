// The automaton beside the plain reading of the same rules: random grammars, random texts, every beginning of each.
#include "runtime/text/grammar/automaton.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <random>

#include "runtime/base/error.h"
#include "runtime/text/grammar/gbnf.h"
#include "runtime/text/grammar/states.h"
#include "tests/runtime/text/grammar/grammar_reference.h"

namespace attar::runtime {
namespace {

std::string message_of(const std::string& grammar) {
  try {
    compile(parse_gbnf(grammar, "g"));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    return error.what();
  }
  return "";
}

// Every beginning of `text`, by the automaton and the plain way.
void expect_same(const Rules& rules, const std::string& text, const std::string& grammar) {
  const Automaton automaton = compile(rules);
  GrammarStates states(automaton);
  uint32_t state = states.start();
  for (size_t n = 0; n <= text.size(); ++n) {
    if (n > 0) state = states.step(state, static_cast<uint8_t>(text[n - 1]));
    const Reading expected = read_reference(rules, std::string_view(text).substr(0, n));
    ASSERT_EQ(state != GrammarStates::kDead, expected.is_begun) << grammar << "\non: " << text.substr(0, n);
    ASSERT_EQ(state != GrammarStates::kDead && states.may_end(state), expected.is_whole)
        << grammar << "\non: " << text.substr(0, n);
  }
}
void expect_same(const std::string& grammar, const std::string& text) {
  expect_same(parse_gbnf(grammar, "g"), text, grammar);
}

bool accepts(const std::string& grammar, const std::string& text) {
  const Automaton automaton = compile(parse_gbnf(grammar, "g"));
  GrammarStates states(automaton);
  const uint32_t state = states.step(states.start(), text);
  return state != GrammarStates::kDead && states.may_end(state);
}

TEST(Automaton, ReadsWhatTheRulesSay) {
  EXPECT_TRUE(accepts("root ::= \"ab\" [0-9]+ (\"x\" | \"y\")?", "ab12y"));
  EXPECT_FALSE(accepts("root ::= \"ab\" [0-9]+ (\"x\" | \"y\")?", "ab"));
  EXPECT_TRUE(accepts("root ::= \"(\" root \")\" | \"\"", "((()))"));
  EXPECT_FALSE(accepts("root ::= \"(\" root \")\" | \"\"", "(()"));
  EXPECT_TRUE(accepts("root ::= \"a\"{2,3}", "aaa"));
  EXPECT_FALSE(accepts("root ::= \"a\"{2,3}", "aaaa"));
  EXPECT_TRUE(accepts("root ::= [^a-z]{3}", "\u65E5A\U0001F600"));
  EXPECT_FALSE(accepts("root ::= .", "\xE6\x97"));
  EXPECT_FALSE(accepts("root ::= .", "\xED\xA0\x80")) << "half a surrogate pair is no character";
  EXPECT_FALSE(accepts("root ::= .", "\xC0\xAF")) << "nor is a byte written too long";
  EXPECT_TRUE(accepts("root ::= (\"\")* (\"x\"?)* \"y\"", "xxy"));
}

// Alternatives that are texts become a tree.
TEST(Automaton, ListsOfTextsAreWhatEachOfThemSays) {
  const std::string grammar =
      "root ::= (\"ab\" | \"\" | \"abc\" | \"ab\" | \"\u00e9\" | [0-9] \"x\" | \"b\" | \"\u00e8\" | \"abcab\"){0,3} "
      "\"!\"?";
  for (const char* text : {"", "a", "ab", "abab", "abcab", "abcb", "abcabc!", "ababcabb", "\u00e9\u00e8", "\xC3",
                           "1xab", "1ab", "bb!", "bbbb"})
    ASSERT_NO_FATAL_FAILURE(expect_same(grammar, text));
}

TEST(Automaton, BordersOfCharactersInBytes) {
  for (const char* grammar :
       {"root ::= [\\u007e-\\u0081]", "root ::= [\\u07fe-\\u0801]", "root ::= [\\ufffe-\\U00010001]",
        "root ::= [^\\u0100-\\U0010ffff]", "root ::= [\\u00e9\\u4e00-\\u9fff]", "root ::= ."})
    for (const uint32_t c :
         {0u,      0x7Eu,   0x7Fu,   0x80u,   0x81u,    0x82u,    0xE9u,    0xFFu,    0x100u,  0x7FDu,
          0x7FEu,  0x7FFu,  0x800u,  0x801u,  0x802u,   0x4DFFu,  0x4E00u,  0x9FFFu,  0xA000u, 0xD7FFu,
          0xE000u, 0xFFFDu, 0xFFFEu, 0xFFFFu, 0x10000u, 0x10001u, 0x10002u, 0x10FFFFu}) {
      Rules one;
      one.add("root", one.one_of({{c, c}}));
      const Automaton automaton = compile(one);
      std::string text;  // the bytes of the character, found by following the automaton of it alone
      GrammarStates states(automaton);
      for (uint32_t state = states.start(); !states.must_end(state);)
        for (int byte = 0; byte < 256; ++byte)
          if (const uint32_t next = states.step(state, static_cast<uint8_t>(byte)); next != GrammarStates::kDead) {
            text += static_cast<char>(byte);
            state = next;
            break;
          }
      ASSERT_NO_FATAL_FAILURE(expect_same(grammar, text));
    }
}

// A random grammar that is not left-recursive: a rule is called behind a byte, or calls later rules alone.
class RandomGrammar {
 public:
  explicit RandomGrammar(uint32_t seed) : random_(seed) {}

  std::string text() {
    std::string all;
    for (int i = 0; i < kRules; ++i)
      all += (i == 0 ? "root" : "r" + std::to_string(i)) + " ::= " + choices(i, 2) + "\n";
    return all;
  }
  std::string sample() {
    std::string out;
    for (int n = pick(9); n > 0; --n) out += kPieces[static_cast<size_t>(pick(std::size(kPieces)))];
    return out;
  }

 private:
  static constexpr int kRules = 4;
  static constexpr const char* kPieces[] = {"a", "b", "ab", "c", "\u00e9", "\u65e5", "\xE6", "\x97"};

  int pick(size_t n) { return static_cast<int>(random_() % n); }
  std::string choices(int rule, int depth) {
    std::string all = parts(rule, depth);
    for (int n = pick(3); n > 0; --n) all += " | " + parts(rule, depth);
    return all;
  }
  std::string parts(int rule, int depth) {
    std::string all;
    bool read = false;
    for (int n = pick(4); n > 0; --n) all += " " + part(rule, depth, read);
    return all;
  }
  std::string part(int rule, int depth, bool& read) {
    static constexpr const char* kCounts[] = {"", "", "", "", "*", "+", "?", "{2}", "{0,2}", "{1,}"};
    const int kind = pick(depth > 0 ? 6 : 4);
    std::string one;
    if (kind == 0) one = "\"a\"", read = true;
    if (kind == 1) one = "[^ab]", read = true;
    if (kind == 2) one = "[a-b\\u00e9]", read = true;
    if (kind == 3) {
      const int to = read ? pick(kRules) : rule + 1 + pick(2);
      one = to >= kRules ? "\"ab\"" : to == 0 ? "root" : "r" + std::to_string(to);
    }
    if (kind >= 4) one = "(" + choices(kRules, depth - 1) + ")";
    return one + kCounts[pick(std::size(kCounts))];
  }

  std::mt19937 random_;
};

TEST(Automaton, IsThePlainReadingOfRandomGrammars) {
  int compared = 0;
  for (uint32_t seed = 0; seed < 3000 && compared < 400; ++seed) {
    RandomGrammar random(seed);
    const std::string grammar = random.text();
    const Rules rules = parse_gbnf(grammar, "g");
    try {
      compile(rules);
    } catch (const Error&) {
      continue;  // rules that never end, left recursion through counts that are 0
    }
    ++compared;
    for (int i = 0; i < 12; ++i) ASSERT_NO_FATAL_FAILURE(expect_same(rules, random.sample(), grammar));
  }
  EXPECT_GE(compared, 300);
}

TEST(Automaton, RefusesWhatNeverEndsOrCallsItselfFirst) {
  EXPECT_NE(message_of("root ::= \"a\" root").find("`root` never ends"), std::string::npos);
  EXPECT_NE(message_of("root ::= \"a\" | \"b\" t\nt ::= \"x\" t").find("`t` never ends"), std::string::npos);
  for (const char* grammar : {"root ::= root \"a\" | \"b\"", "root ::= x \"a\" | \"b\"\nx ::= \"\" root \"y\" | \"c\"",
                              "root ::= \"a\"? root \"b\" | \"c\"", "root ::= (root \"x\"){2} | \"y\"",
                              "root ::= n n root \"z\" | \"k\"\nn ::= \"n\"*", "root ::= root | \"a\""})
    EXPECT_NE(message_of(grammar).find("left-recursive"), std::string::npos) << grammar << message_of(grammar);
  EXPECT_NE(message_of("root ::= \"b\" x\nx ::= y \"q\" | \"d\"\ny ::= x \"a\" | \"c\"").find("left-recursive"),
            std::string::npos);
  EXPECT_EQ(message_of("root ::= \"a\" root | \"\""), "");
  EXPECT_EQ(message_of("root ::= \"a\"* root2\nroot2 ::= \"x\" root | \"\""), "");
}

TEST(Automaton, RefusesWhatIsTooLarge) {
  EXPECT_NE(message_of("root ::= (([a-z] | \"\u00e9\"){60000} \"x\" | \"y\"){60000} (\"ab\" | \"c\"){60000} "
                       "(\"d\"{60000}){60000} ([f-h]{60000} \"x\"){2}")
                .find("too large"),
            std::string::npos);
  EXPECT_EQ(message_of("root ::= ([a-z0-9] \"-\"){65536}"), "");
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// What has exponentially many readings is followed in the time of one.
TEST(Automaton, WaysToReadAreSharedNotCounted) {
  EXPECT_LT(seconds_of([] {
              EXPECT_TRUE(accepts("root ::= \"a\" root \"x\" | \"a\" root \"y\" | \"\"",
                                  std::string(400, 'a') + std::string(400, 'x')));
              EXPECT_TRUE(accepts("root ::= ((\"a\"*)* (\"a\" | \"aa\")*)* \"b\"", std::string(2000, 'a') + "b"));
              EXPECT_TRUE(accepts("root ::= s\ns ::= \"a\" s s | \"\"", std::string(300, 'a')));
            }),
            5.0);
}

TEST(Automaton, NestingHasAnEnd) {
  const Automaton automaton = compile(parse_gbnf("root ::= \"(\" root \")\" | \"x\"", "g"));
  GrammarStates states(automaton);
  uint32_t state = states.start();
  for (uint32_t i = 0; i < kMostNesting; ++i) state = states.step(state, '(');
  EXPECT_EQ(states.step(state, '('), GrammarStates::kDead);
  state = states.step(state, 'x');
  for (uint32_t i = 0; i < kMostNesting; ++i) state = states.step(state, ')');
  EXPECT_TRUE(states.must_end(state));
}

TEST(Automaton, RulesCallEachOtherOnlySoDeepBeforeAByte) {
  const auto chain = [](int rules) {
    std::string text = "root ::= r1 \"x\"\n";
    for (int i = 1; i < rules; ++i) text += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " \"x\"\n";
    return text + "r" + std::to_string(rules) + " ::= \"a\"";
  };
  EXPECT_TRUE(accepts(chain(900), "a" + std::string(900, 'x')));
  const Automaton automaton = compile(parse_gbnf(chain(20000), "g"));
  EXPECT_THROW(GrammarStates{automaton}, Error);
}

// Memory is bounded: states are forgotten, but for those that texts are in.
TEST(Automaton, ForgetsAndGoesOn) {
  const Automaton automaton =
      compile(parse_gbnf("root ::= r{30} \"x\"\nr ::= [ab]{60000} \"-\" | \"(\" root \")\"", "g"));
  GrammarStates states(automaton);
  uint32_t state = states.step(states.start(), "(((");
  int forgotten = 0;
  for (int part = 0; part < 29; ++part) {
    for (int i = 0; i < 60000; ++i) {
      state = states.step(state, 'a');
      if (!states.full()) continue;
      uint32_t* kept[] = {&state};
      states.forget_all_but(kept);
      states.begin_token();
      ++forgotten;
    }
    states.begin_token();
    ASSERT_EQ(states.step(state, 'a'), GrammarStates::kDead);
    state = states.step(state, '-');
  }
  EXPECT_GE(forgotten, 1);
  state = states.step(state, std::string(60000, 'b') + "-x)");
  EXPECT_NE(state, GrammarStates::kDead);
  EXPECT_EQ(states.step(state, 'x'), GrammarStates::kDead);
}

}  // namespace
}  // namespace attar::runtime
