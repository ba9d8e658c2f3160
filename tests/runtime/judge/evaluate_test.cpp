// Accuracy and perplexity against numbers worked out by hand and the plain forward pass. tests/oracle/eval_test.py
// compares with lm-evaluation-harness.
#include "runtime/judge/tasks/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "runtime/base/error.h"
#include "tests/runtime/spoken_model.h"
#include "tests/runtime/tiny_model.h"
#include "tests/test_folder.h"

namespace attar::runtime {
namespace {

constexpr int32_t kBos = 1, kA = 3, kSpace = 4, kB = 5, kC = 6, kAcute = 7;
constexpr double kStrength = 1.0;

// V 8: after "a" the space is likeliest, then "b", "c", "é"; then comes token 0.
TokenizerData alphabet() {
  return spoken_tokenizer({"a", "\u2581", "b", "c", "\u00e9"});
}
const double kLse = std::log(std::exp(kStrength) + 7.0);
const double kNext = kStrength - kLse, kOther = -kLse;  // log p of the successor and of any other token
constexpr double kClose = 1e-3;  // RMSNorm's epsilon takes up to 4e-5 off a logit of the successor

ModelFile speaker(int64_t context_length = 64) {
  return successor_model(alphabet(), kStrength, context_length);
}

Task read(const std::string& lines, int64_t limit = 0) {
  const TestFolder folder("evaluate");
  std::ofstream(folder / "items.jsonl") << lines;
  return read_task(folder / "items.jsonl", limit);
}

std::string refusal(const std::string& lines) {
  try {
    read(lines);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

using Tokens = std::vector<int32_t>;

TEST(Evaluate, ReadsTheThreeForms) {
  const Task choices = read(
      "{\"query\": \"a\", \"choices\": [\"b\", \"c\"], \"gold\": 1}\n\n"
      "{\"query\": \"b\", \"choices\": [\"c\"], \"gold\": 0}\r\n");
  EXPECT_EQ(choices.form, TaskForm::Choices);
  ASSERT_EQ(choices.items.size(), 2u);
  EXPECT_EQ(choices.items[0].choices[1].answer, "c");
  EXPECT_EQ(choices.items[0].gold, 1);
  EXPECT_TRUE(choices.items[1].where.ends_with("items.jsonl:3"));
  const Task contexts = read("{\"context_options\": [\"a\", \"b\"], \"continuation\": \"c\", \"gold\": 0}\n");
  EXPECT_EQ(contexts.form, TaskForm::Contexts);
  EXPECT_EQ(contexts.items[0].choices[1].context, "b");
  EXPECT_EQ(read("{\"context\": \"a\", \"continuation\": \"c\"}\n").form, TaskForm::Cloze);
  const std::string two = "{\"context\": \"a\", \"continuation\": \"c\"}\n";
  EXPECT_EQ(read(two + two, 1).items.size(), 1u);
}

TEST(Evaluate, RefusesWhatIsNoItem) {
  const std::string right = "{\"query\": \"a\", \"choices\": [\"b\"], \"gold\": 0}\n";
  EXPECT_NE(refusal("").find("holds no item"), std::string::npos);
  EXPECT_NE(refusal("[1]\n").find("items.jsonl:1: is no JSON object"), std::string::npos);
  EXPECT_NE(refusal("{\"query\": \"a\"}\n").find("no item Attar knows"), std::string::npos);
  EXPECT_NE(
      refusal(right + "{\"context\": \"a\", \"continuation\": \"b\"}\n").find("items.jsonl:2: is an item of another"),
      std::string::npos);
  EXPECT_NE(refusal("{\"query\": \"a\", \"choices\": [], \"gold\": 0}\n").find("`choices`"), std::string::npos);
  EXPECT_NE(refusal("{\"query\": \"a\", \"choices\": \"bc\", \"gold\": 0}\n").find("`choices`"), std::string::npos);
  EXPECT_NE(refusal("{\"query\": \"a\", \"choices\": [2], \"gold\": 0}\n").find("no text"), std::string::npos);
  EXPECT_NE(refusal("{\"query\": \"a\", \"choices\": [\"b\"], \"gold\": 1}\n").find("out of range"), std::string::npos);
  EXPECT_NE(refusal("{\"query\": \"a\", \"choices\": [\"b\"], \"gold\": \"0\"}\n").find("no gold"), std::string::npos);
}

TEST(Evaluate, SpacesAtTheEndOfTheContextAreTheContinuations) {
  const Tokenizer tokenizer(alphabet());
  const auto tokens = [&](const std::string& context) { return choice_tokens(tokenizer, {context, "b"}, 64, "item"); };
  EXPECT_EQ(tokens("a").tokens, (Tokens{kBos, kA, kSpace, kB}));
  EXPECT_EQ(tokens("a").begin, 2u);
  EXPECT_EQ(tokens("a  ").tokens, (Tokens{kBos, kA, kSpace, kSpace, kSpace, kB}));
  EXPECT_EQ(tokens("a  ").begin, 2u);
  EXPECT_EQ(tokens("a b ").begin, 4u);
  for (const char* space : {"\n", "\t", "\x1c", "\u00a0", "\u3000"})
    EXPECT_EQ(tokens(std::string("a") + space).begin, 2u);
}

TEST(Evaluate, BeginsWithBosOnceAndNeverEndsWithEos) {
  TokenizerData data = alphabet();
  data.add_eos = true;
  const Choice choice{"a", "b"}, spelled{"<s>a", "b"};
  EXPECT_EQ(choice_tokens(Tokenizer(data), choice, 64, "item").tokens, (Tokens{kBos, kA, kSpace, kB}));
  EXPECT_EQ(choice_tokens(Tokenizer(data), spelled, 64, "item").tokens, (Tokens{kBos, kA, kSpace, kB}));
  data.add_bos = false;
  EXPECT_EQ(choice_tokens(Tokenizer(data), choice, 64, "item").tokens, (Tokens{kA, kSpace, kB}));
  EXPECT_EQ(choice_tokens(Tokenizer(data), choice, 64, "item").begin, 1u);
}

TEST(Evaluate, AnEmptyContextIsBosOrEos) {
  TokenizerData data = alphabet();
  data.add_bos = false;
  for (const char* context : {"", " "}) {
    const ChoiceTokens tokens = choice_tokens(Tokenizer(data), {context, "b"}, 64, "item");
    EXPECT_EQ(tokens.tokens[0], kBos);
    EXPECT_EQ(tokens.tokens.back(), kB);
    EXPECT_EQ(tokens.begin, 1u);
  }
  data.bos = -1;
  EXPECT_EQ(choice_tokens(Tokenizer(data), {"", "b"}, 64, "item").tokens[0], data.eos);
  data.eos = -1;
  EXPECT_THROW(choice_tokens(Tokenizer(data), {"", "b"}, 64, "item"), Error);
}

// 14 tokens where 8 can be read: the last 9 stay, of which one is only predicted.
TEST(Evaluate, CutsLongItemsFromTheLeft) {
  ThreadPool pool(1);
  const Model model = Model::load(speaker(8), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  const Choice choice{"abcabcabcabc", "b"};
  const ChoiceTokens tokens = choice_tokens(model.tokenizer(), choice, 8, "item");
  EXPECT_EQ(tokens.tokens, (Tokens{kC, kA, kB, kC, kA, kB, kC, kSpace, kB}));
  EXPECT_EQ(tokens.begin, 7u);
  const ItemScores scores = score_item(model, {.choices = {choice}, .gold = 0, .where = "item"}, work);
  EXPECT_NEAR(scores.log_probs[0], kOther + kNext, kClose);
  EXPECT_THROW(choice_tokens(model.tokenizer(), {"a", "bcbcbcbc"}, 8, "item"), Error);  // " bcbcbcbc" has 9
  EXPECT_NO_THROW(choice_tokens(model.tokenizer(), {"a", "bcbcbcb"}, 8, "item"));
}

// Three answers of which each wins by another measure.
TEST(Evaluate, TheBestByCharactersAndByBytes) {
  ThreadPool pool(1);
  const Model model = Model::load(speaker(), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  Task task;
  for (int64_t gold = 0; gold < 3; ++gold)
    task.items.push_back(
        {.choices = {{"a", "b"}, {"a", "\u00e9\u00e9\u00e9"}, {"a", "bcb"}}, .gold = gold, .where = "item"});
  task.items.push_back({.choices = {{"a", "c"}, {"a", "b"}}, .gold = 0, .where = "item"});
  const std::vector<ItemScores> scores = score_task(model, task, work);
  EXPECT_NEAR(scores[0].log_probs[0], 2 * kNext, kClose);           // -2.55
  EXPECT_NEAR(scores[0].log_probs[1], kNext + 3 * kOther, kClose);  // -8.09: 3 characters, 6 bytes
  EXPECT_NEAR(scores[0].log_probs[2], 3 * kNext + kOther, kClose);  // -6.09
  EXPECT_EQ(scores[0].best, 0);
  EXPECT_EQ(scores[0].best_by_characters, 2);
  EXPECT_EQ(scores[0].best_by_bytes, 1);
  EXPECT_EQ(scores[3].best, 1);
  const TaskAccuracy accuracy = accuracy_of(task, scores);
  EXPECT_DOUBLE_EQ(accuracy.plain.share, 0.25);
  EXPECT_DOUBLE_EQ(accuracy.by_characters.share, 0.25);
  EXPECT_DOUBLE_EQ(accuracy.by_bytes.share, 0.25);
}

TEST(Evaluate, OfEqualsTheFirstIsChosen) {
  ThreadPool pool(1);
  const Model model = Model::load(speaker(), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  const TaskItem item{.choices = {{"a", "c"}, {"a", "b"}, {"a", "b"}}, .gold = 2, .where = "item"};
  EXPECT_EQ(score_item(model, item, work).best, 1);
}

TEST(Evaluate, AClozeIsRightWhenItIsGreedy) {
  ThreadPool pool(1);
  const Model model = Model::load(speaker(), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  Task task{.form = TaskForm::Cloze, .items = {}};
  for (const char* continuation : {"bc", "bb", "b"})
    task.items.push_back({.choices = {{"a", continuation}}, .gold = 0, .where = "item"});
  const std::vector<ItemScores> scores = score_task(model, task, work);
  EXPECT_TRUE(scores[0].greedy);
  EXPECT_FALSE(scores[1].greedy);
  EXPECT_TRUE(scores[2].greedy);
  const TaskAccuracy accuracy = accuracy_of(task, scores);
  EXPECT_DOUBLE_EQ(accuracy.plain.share, 2.0 / 3.0);
  EXPECT_NEAR(std::log(accuracy.perplexity), -(7 * kNext + kOther) / 3.0, kClose);
}

// Of a share p of n items sqrt(p (1 - p) / (n - 1)).
TEST(Evaluate, TheErrorOfAnAccuracy) {
  const auto of = [](const std::vector<bool>& right) {
    Task task;
    std::vector<ItemScores> scores;
    for (const bool one : right) {
      task.items.push_back({.choices = {{"a", "b"}}, .gold = 1, .where = "item"});
      scores.push_back({.log_probs = {-1.0}, .best = one ? 1 : 0, .best_by_characters = 1, .best_by_bytes = 0});
    }
    return accuracy_of(task, scores);
  };
  const TaskAccuracy three_of_four = of({true, false, true, true});
  EXPECT_DOUBLE_EQ(three_of_four.plain.share, 0.75);
  EXPECT_DOUBLE_EQ(three_of_four.plain.stderr_, 0.25);
  EXPECT_DOUBLE_EQ(three_of_four.by_characters.stderr_, 0.0);
  EXPECT_DOUBLE_EQ(three_of_four.by_bytes.share, 0.0);
  EXPECT_TRUE(std::isnan(of({true}).plain.stderr_));
}

// Choices that share much of their tokens, little or nothing, in a model whose every number matters.
TEST(Evaluate, EqualsThePlainForwardPass) {
  std::vector<std::string> letters{"\u2581"};
  for (char c = 'a'; c <= 'z'; ++c) letters.emplace_back(1, c);
  letters.emplace_back("th"), letters.emplace_back("\u2581t");
  const TinyOptions options{.tied = false};
  const ModelFile file = with_tokenizer(tiny_model(tiny_config(options), options), spoken_tokenizer(letters));
  ThreadPool pool(2);
  const Model model = Model::load(file, {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  const TaskItem item{
      .choices = {{"the cat sat on", "the mat"}, {"the cat sat on", "a moth"}, {"the cat", "sat"}, {"one", "two"}},
      .gold = 0,
      .where = "item"};
  const ItemScores scores = score_item(model, item, work);
  for (size_t i = 0; i < item.choices.size(); ++i) {
    const ChoiceTokens tokens =
        choice_tokens(model.tokenizer(), item.choices[i], model.config().context_length, "item");
    const auto logits = forward_reference(file, tokens.tokens);
    double expected = 0.0;
    for (size_t t = tokens.begin; t < tokens.tokens.size(); ++t) {
      double sum = 0.0;
      for (const double x : logits[t - 1]) sum += std::exp(x);
      expected += logits[t - 1][static_cast<size_t>(tokens.tokens[t])] - std::log(sum);
    }
    EXPECT_NEAR(scores.log_probs[i], expected, 1e-4) << i;
  }
}

std::vector<ModelText> plain(const Model& model, const std::vector<std::string>& texts) {
  TextReader reader(model.tokenizer());
  std::vector<ModelText> out;
  for (const std::string& text : texts) out.push_back(reader.read({.text = text})[0]);
  return out;
}

// Windows of four tokens, the first of each BOS: every letter is scored, the first one of each after BOS.
TEST(Evaluate, EachWindowOfATextBeginsWithBos) {
  ThreadPool pool(1);
  const Model model = Model::load(speaker(), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  const TextScore score = score_texts(model, plain(model, {"bc\u00e9bca", "b"}), 4, work);
  EXPECT_EQ(score.tokens, 7);
  EXPECT_DOUBLE_EQ(score.bytes, 8.0);
  const double nats = -((kOther + 2 * kNext) + (kOther + kNext + kOther) + kOther);
  EXPECT_NEAR(score.nats, nats, kClose);
  EXPECT_NEAR(score.perplexity(), std::exp(nats / 7), 10 * kClose);
  EXPECT_NEAR(score.bits_per_byte(), nats / std::log(2.0) / 8, kClose);
  // Windows of 3, 3 and 1 tokens, 4, 3 and 1 bytes, each with what its tokens took.
  const std::vector<double> sums{-(kOther + 2 * kNext), -(2 * kOther + kNext), -kOther};
  const auto error = [&](const std::vector<double>& sizes, double all) {
    double squares = 0.0;
    for (size_t i = 0; i < 3; ++i) squares += std::pow(sums[i] - nats / all * sizes[i], 2);
    return std::sqrt(1.5 * squares) / all;
  };
  EXPECT_NEAR(score.perplexity_stderr(), std::exp(nats / 7) * error({3, 3, 1}, 7), 10 * kClose);
  EXPECT_NEAR(score.bits_per_byte_stderr(), error({4, 3, 1}, 8) / std::log(2.0), kClose);
}

TEST(Evaluate, WithoutBosTheFirstTokenOfAWindowIsNotScored) {
  TokenizerData data = alphabet();
  data.add_bos = false;
  ThreadPool pool(1);
  const Model model = Model::load(successor_model(data, kStrength), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  const TextScore score = score_texts(model, plain(model, {"bc\u00e9bc"}), 3, work);
  EXPECT_EQ(score.tokens, 3);
  EXPECT_NEAR(score.nats, -3 * kNext, kClose);
  EXPECT_THROW(score_texts(model, plain(model, {"b", ""}), 4, work), Error);
}

}  // namespace
}  // namespace attar::runtime
