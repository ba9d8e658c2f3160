// Guessing ahead: what is looked up, how guesses adapt, and that no guess ever changes a text.
#include "runtime/text/speculation.h"

#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/text/generate.h"
#include "tests/runtime/spoken_model.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {
namespace {

using Tokens = std::vector<int32_t>;

TEST(Speculation, LooksUpTheLatestOfTheLongestOccurrences) {
  EXPECT_EQ(looked_up(Tokens{1, 2, 3, 4, 9, 1, 2}, 8), (Tokens{3, 4, 9, 1, 2}));
  EXPECT_EQ(looked_up(Tokens{1, 2, 3, 4, 9, 1, 2}, 2), (Tokens{3, 4}));
  EXPECT_EQ(looked_up(Tokens{1, 2, 5, 7, 1, 2, 6, 8, 1, 2}, 1), (Tokens{6})) << "the latest of two";
  EXPECT_EQ(looked_up(Tokens{3, 1, 2, 5, 7, 1, 2, 6, 3, 1, 2}, 1), (Tokens{5})) << "the longer of two";
  EXPECT_EQ(looked_up(Tokens{4, 4, 4}, 3), (Tokens{4})) << "occurrences may overlap";
  EXPECT_EQ(looked_up(Tokens{1, 2, 3, 2}, 3), Tokens{}) << "one token is no occurrence";
  EXPECT_EQ(looked_up(Tokens{1, 2, 1, 2}, 0), Tokens{});
  EXPECT_EQ(looked_up(Tokens{}, 3), Tokens{});
  EXPECT_EQ(looked_up(Tokens{7}, 3), Tokens{});
}

TEST(Speculation, GuessesGrowWhileTheyHold) {
  GuessLength length(16);
  EXPECT_EQ(length.next(), 4);
  length.saw(0, 0);
  EXPECT_EQ(length.next(), 4) << "nothing was guessed";
  length.saw(4, 4);
  length.saw(8, 8);
  length.saw(16, 16);
  EXPECT_EQ(length.next(), 16);
  length.saw(16, 5);
  EXPECT_EQ(length.next(), 6);
  length.saw(6, 0);
  EXPECT_EQ(length.next(), 1);
  EXPECT_EQ(GuessLength(2).next(), 2);
}

struct Case {
  double temperature;
  int64_t max_tokens;
  Tokens prompt;
};
const std::vector<Case> kCases = {{0.0, 40, {1, 5, 9, 1, 5, 9, 1, 5}},
                                  {0.0, 1, {3, 4, 3, 4}},
                                  {0.7, 40, {1, 5, 9, 1, 5, 9, 1, 5}},
                                  {1.0, 17, {2, 2, 2, 2}},
                                  {0.0, 200, {7, 8}}};  // to the end of the context

class SameText : public ::testing::Test {
 protected:
  static ModelFile file(uint64_t seed) {
    TinyOptions options = {.matrix_type = TensorType::Q8_0, .seed = seed};
    ModelConfig config = tiny_config(options);
    config.context_length = 64;
    return tiny_model(config, options);
  }
  static GenerateOptions how(const Case& c) {
    return {.max_tokens = c.max_tokens, .sampling = {.temperature = c.temperature}, .seed = 5, .stop = {}};
  }
  // The text, and that the cache holds the beginning of prompt and text.
  static Generated write(const Model& model, const Case& c, const GenerateOptions& options, ThreadPool& pool) {
    Workspace work(model, pool);
    KvCache cache(model);
    Generated out = generate(model, cache, c.prompt, options, work);
    Tokens all = c.prompt;
    all.insert(all.end(), out.tokens.begin(), out.tokens.end());
    EXPECT_LE(cache.length_tokens(), static_cast<int64_t>(all.size()));
    KvCache fresh(model);
    std::vector<Row> rows;
    for (int64_t i = 0; i < cache.length_tokens(); ++i) rows.push_back({&fresh, all[static_cast<size_t>(i)], false});
    forward(model, rows, work);
    if (cache.length_tokens() == model.config().context_length) return out;
    std::vector<float> next[2];
    for (KvCache* one : {&cache, &fresh}) {
      const Row row = {one, 3, true};
      forward(model, {&row, 1}, work);
      next[one == &fresh].assign(work.logits(0).begin(), work.logits(0).end());
    }
    EXPECT_EQ(next[0], next[1]) << "what the cache holds";
    return out;
  }
};

TEST_F(SameText, WithLookupOrWithout) {
  const ModelFile model_file = file(1);
  int64_t accepted = 0;
  for (const KvFormat kv : {KvFormat::F16, KvFormat::Int8})
    for (const int n_threads : {1, 2}) {
      ThreadPool pool(n_threads);
      const Model model = Model::load(model_file, {.kv = kv}, pool);
      for (const Case& c : kCases) {
        const Generated expected = write(model, c, how(c), pool);
        EXPECT_EQ(expected.speculation.guessed, 0);
        for (const int64_t lookup : {1, 3, 16}) {
          GenerateOptions options = how(c);
          options.lookup = lookup;
          const Generated got = write(model, c, options, pool);
          EXPECT_EQ(got.tokens, expected.tokens) << lookup << " at temperature " << c.temperature;
          EXPECT_EQ(got.reason, expected.reason);
          EXPECT_EQ(got.speculation.passes + got.speculation.accepted, expected.speculation.passes);
          accepted += got.speculation.accepted;
        }
      }
    }
  EXPECT_GT(accepted, 100);
}

TEST_F(SameText, WithADraftOrWithout) {
  ThreadPool pool(2);
  const Model model = Model::load(file(1), {}, pool);
  for (const uint64_t seed : {1, 2}) {  // the model itself, and one that guesses badly
    Draft draft(Model::load(file(seed), {}, pool), model, pool);
    for (const Case& c : kCases) {
      const Generated expected = write(model, c, how(c), pool);
      GenerateOptions options = how(c);
      options.draft = &draft;
      const Generated got = write(model, c, options, pool);
      EXPECT_EQ(got.tokens, expected.tokens) << "temperature " << c.temperature;
      EXPECT_EQ(got.reason, expected.reason);
      if (seed == 1) {
        EXPECT_EQ(got.speculation.accepted, got.speculation.guessed) << "its own guesses";
      }
      options.lookup = 4;
      EXPECT_EQ(write(model, c, options, pool).tokens, expected.tokens);
    }
  }
}

// Stop texts and characters of several bytes inside what was guessed.
TEST_F(SameText, StopsAtTheSamePlace) {
  const std::vector<std::string> texts{"a", "b", "<0xE6>", "<0x97>", "<0xA5>", "c", "de", "<0xFF>", "f"};
  ThreadPool pool(2);
  const ModelFile file = successor_model(spoken_tokenizer(texts), 20.0);
  const Model model = Model::load(file, {}, pool);
  Draft draft(Model::load(file, {}, pool), model, pool);
  for (const std::vector<std::string>& stop : std::vector<std::vector<std::string>>{{}, {"c"}, {"cd"}, {"b"}, {"zz"}})
    for (const int64_t max_tokens : {2, 3, 9, 30}) {
      GenerateOptions options{.max_tokens = max_tokens, .sampling = {.temperature = 0.0}, .seed = 0, .stop = stop};
      const Case c{0.0, max_tokens, {2}};
      const Generated expected = write(model, c, options, pool);
      options.draft = &draft;
      const Generated got = write(model, c, options, pool);
      EXPECT_EQ(got.text, expected.text);
      EXPECT_EQ(got.tokens, expected.tokens);
      EXPECT_EQ(got.reason, expected.reason);
    }
}

TEST_F(SameText, RefusesADraftWithOtherTokens) {
  ThreadPool pool(1);
  const Model model = Model::load(successor_model(spoken_tokenizer({"a", "b", "c"}), 5.0), {}, pool);
  for (const std::vector<std::string>& other : std::vector<std::vector<std::string>>{{"a", "b", "d"}, {"a", "b"}}) {
    Model small = Model::load(successor_model(spoken_tokenizer(other), 5.0), {}, pool);
    EXPECT_THROW(Draft(std::move(small), model, pool), Error);
  }
  KvCache cache(model);
  Workspace work(model, pool);
  GenerateOptions options;
  for (const int64_t lookup : {int64_t{-1}, kMostGuesses + 1}) {
    options.lookup = lookup;
    EXPECT_THROW(generate(model, cache, Tokens{1}, options, work), Error);
  }
}

}  // namespace
}  // namespace attar::runtime
