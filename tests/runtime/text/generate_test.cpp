#include "runtime/text/generate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/base/error.h"
#include "runtime/kernels/vocabulary_math.h"
#include "runtime/text/generate_batch.h"
#include "tests/runtime/spoken_model.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {
namespace {

// Says "ab", U+65E5 in three byte tokens, "c", "de", a byte that is not UTF-8, "f", and comes to the unknown token.
const std::vector<std::string> kTexts{"a", "b", "<0xE6>", "<0x97>", "<0xA5>", "c", "de", "<0xFF>", "f"};
constexpr int32_t kBos = 1, kA = 3;

class Speech {
 public:
  explicit Speech(int64_t context = 64, double strength = 20.0)
      : pool_(2),
        model_(Model::load(successor_model(spoken_tokenizer(kTexts), strength, context), {.numerics = Numerics::Fp32},
                           pool_)),
        work_(model_, pool_) {}

  Generated say(const GenerateOptions& options, const std::vector<int32_t>& prompt = {2}) {
    KvCache cache(model_);
    pieces.clear();
    return generate(model_, cache, prompt, options, work_, [&](std::string_view text) {
      if (!text.empty()) pieces.emplace_back(text);
      return !(stop_after > 0 && static_cast<int>(pieces.size()) >= stop_after);
    });
  }
  const Model& model() const { return model_; }
  Workspace& work() { return work_; }

  std::vector<std::string> pieces;
  int stop_after = 0;

 private:
  ThreadPool pool_;
  Model model_;
  Workspace work_;
};

GenerateOptions greedy(int64_t max_tokens = 9, std::vector<std::string> stop = {}) {
  return {.max_tokens = max_tokens, .sampling = {.temperature = 0.0}, .seed = 0, .stop = std::move(stop)};
}

TEST(Generate, StreamsWholeCharacters) {
  Speech speech;
  const Generated out = speech.say(greedy());
  EXPECT_EQ(out.tokens, (std::vector<int32_t>{3, 4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(out.text, "ab\u65E5cde\uFFFDf");
  EXPECT_EQ(out.reason, StopReason::MaxTokens);
  EXPECT_EQ(speech.pieces, (std::vector<std::string>{"a", "b", "\u65E5", "c", "de", "\uFFFDf"}));
  EXPECT_EQ(speech.say(greedy(3)).text, "ab\uFFFD") << "cut inside a character";
}

// Rows of an embedding beyond the vocabulary are such: they can be drawn.
TEST(Generate, ShowsNothingOfATokenThatNoTextHas) {
  TokenizerData data = spoken_tokenizer({"a", "[PAD4]", "b"});
  data.tokens[4].kind = TokenKind::Unused;
  ThreadPool pool(1);
  const Model model = Model::load(successor_model(data, 20.0), {.numerics = Numerics::Fp32}, pool);
  Workspace work(model, pool);
  KvCache cache(model);
  const Generated out = generate(model, cache, std::vector<int32_t>{2}, greedy(3), work);
  EXPECT_EQ(out.tokens, (std::vector<int32_t>{3, 4, 5}));
  EXPECT_EQ(out.text, "ab");
  EXPECT_EQ(out.text, model.tokenizer().decode(out.tokens));
}

// The same without what the threads found out about the logits.
std::vector<int32_t> drawn_one_by_one(const Model& model, const GenerateOptions& options, Workspace& work) {
  KvCache cache(model);
  std::vector<int32_t> history{1, 2, 3};
  while (history.size() < static_cast<size_t>(3 + options.max_tokens)) {
    std::vector<Row> rows;
    for (size_t i = static_cast<size_t>(cache.length_tokens()); i < history.size(); ++i)
      rows.push_back({&cache, history[i], i + 1 == history.size()});
    forward(model, rows, work);
    const std::span<const float> logits = work.logits(0);
    const Draw key{options.seed, 0, history.size()};
    history.push_back(sample(logits, log_sum_exp(logits), history, options.sampling, key).token);
  }
  return {history.begin() + 3, history.end()};
}

TEST(Generate, DrawsWhatLogitsLookedAtOneByOneGive) {
  ModelConfig config = tiny_config({});
  config.vocab_size = 20001;  // so large that top-k is found by blocks
  const ModelFile file = tiny_model(config, {});
  const SampleOptions ways[] = {{.temperature = 0.0},
                                {},
                                {.temperature = 1.5, .top_k = 5, .top_p = 1.0},
                                {.temperature = 1.0, .top_k = 0, .top_p = 0.9},
                                {.temperature = 1.0, .top_k = 0, .top_p = 1.0},
                                {.repetition_penalty = 1.3},
                                {.bias = {{7, 4.0f}}}};
  for (const int n_threads : {1, 2, 7}) {
    ThreadPool pool(n_threads);
    const Model model = Model::load(file, {}, pool);
    Workspace work(model, pool);
    for (const SampleOptions& sampling : ways) {
      const GenerateOptions options = {.max_tokens = 10, .sampling = sampling, .seed = 3, .stop = {}};
      KvCache cache(model);
      EXPECT_EQ(generate(model, cache, std::vector<int32_t>{1, 2, 3}, options, work).tokens,
                drawn_one_by_one(model, options, work))
          << n_threads << " threads, way " << &sampling - ways;
    }
  }
}

TEST(Generate, LogitsMayBeSeenAndChanged) {
  Speech speech;
  GenerateOptions options = greedy(4);
  size_t seen = 0;
  options.on_logits = [&](std::span<float> logits) {
    if (++seen == 2) logits[kA] = 1000.0f;
    return seen < 4 ? Flow::GoOn : Flow::Stop;
  };
  try {
    speech.say(options);
    FAIL() << "it was stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Interrupted);
  }
  seen = 0;
  options.max_tokens = 3;
  EXPECT_EQ(speech.say(options).tokens, (std::vector<int32_t>{3, kA, 4}));
  EXPECT_EQ(seen, 3u);
}

TEST(Generate, ComesPieceByPiece) {
  Speech speech;
  KvCache cache(speech.model());
  Continuation continuation(speech.model(), cache, std::vector<int32_t>{2}, greedy(3), speech.work());
  EXPECT_EQ(continuation.next(), "a");
  EXPECT_EQ(continuation.next(), "b");
  EXPECT_EQ(continuation.result().text, "ab");
  EXPECT_EQ(continuation.next(), "") << "a third of a character";
  EXPECT_FALSE(continuation.ended()) << "what was held back is still to come";
  EXPECT_EQ(continuation.next(), "\uFFFD");
  EXPECT_TRUE(continuation.ended());
  EXPECT_EQ(continuation.next(), std::nullopt);
  EXPECT_EQ(continuation.result().tokens.size(), 3u);
  EXPECT_EQ(name_of(continuation.result().reason), std::string("max_tokens"));
}

TEST(Generate, StopsBeforeStopStrings) {
  Speech speech;
  const auto said = [&](const std::vector<std::string>& stop) {
    const Generated out = speech.say(greedy(9, stop));
    std::string streamed;
    for (const std::string& piece : speech.pieces) streamed += piece;
    EXPECT_EQ(streamed, out.text) << "nothing of a stop string is shown";
    EXPECT_EQ(out.reason, out.text.size() < 11 ? StopReason::StopString : StopReason::MaxTokens);
    return out.text;
  };
  EXPECT_EQ(said({"a"}), "");
  EXPECT_EQ(said({"d"}), "ab\u65E5c") << "inside a token";
  EXPECT_EQ(said({"cd"}), "ab\u65E5") << "across tokens";
  EXPECT_EQ(said({"b\u65E5c"}), "a") << "across the bytes of a character";
  EXPECT_EQ(said({"zz", "e", "cde"}), "ab\u65E5") << "the first to begin, of two that end together";
  EXPECT_EQ(said({"bx", "abc", ""}), "ab\u65E5cde\uFFFDf") << "beginnings that come to nothing";
}

TEST(Generate, EndsWithTheTextTheContextOrTheListener) {
  Speech speech;
  EXPECT_EQ(speech.say(greedy(), {kBos}).reason, StopReason::EndOfText);
  EXPECT_TRUE(speech.say(greedy(), {kBos}).tokens.empty());
  Speech small(4);
  const Generated full = small.say(greedy(), {2, kA});
  EXPECT_EQ(full.reason, StopReason::ContextFull);
  EXPECT_EQ(full.tokens.size(), 3u) << "two more fit, and the last is written without being read";
  EXPECT_TRUE(speech.say(greedy(0)).tokens.empty());
  EXPECT_THROW(speech.say(greedy(-1)), Error);
  speech.stop_after = 2;
  const Generated stopped = speech.say(greedy());
  EXPECT_EQ(stopped.reason, StopReason::Interrupted);
  EXPECT_EQ(stopped.text, "ab");
}

class Batch : public ::testing::Test {
 protected:
  Batch()
      : pool_(2),
        file_(tiny_model(tiny_config({}), {})),
        model_(Model::load(file_, {.numerics = Numerics::Fp32}, pool_)),
        work_(model_, pool_) {
    for (uint64_t id = 0; id < 9; ++id) {
      BatchSequence sequence{.id = 100 + id, .prompt = {}};
      for (uint64_t i = 0; i <= id % 4; ++i) sequence.prompt.push_back(static_cast<int32_t>((7 * id + i) % 32));
      sequences_.push_back(sequence);
    }
  }
  static BatchSource source_of(const std::vector<BatchSequence>& sequences) {
    return [&sequences, next = size_t{0}]() mutable -> std::optional<BatchSequence> {
      if (next == sequences.size()) return std::nullopt;
      return sequences[next++];
    };
  }
  std::vector<BatchResult> write(BatchOptions options) {
    std::vector<BatchResult> results;
    generate_batch(model_, source_of(sequences_), options, work_, [&](BatchResult result) {
      EXPECT_EQ(result.prompt, sequences_[results.size()].prompt) << "results come in order";
      results.push_back(std::move(result));
      return Flow::GoOn;
    });
    return results;
  }
  static BatchOptions options(int64_t batch_size) {
    return {
        .text = {.max_tokens = 12, .sampling = {.temperature = 1.0, .top_k = 0, .top_p = 1.0}, .seed = 3, .stop = {}},
        .batch_size = batch_size,
        .top_k_signals = 4};
  }

  ThreadPool pool_;
  ModelFile file_;
  Model model_;
  Workspace work_;
  std::vector<BatchSequence> sequences_;
};

TEST_F(Batch, ResultsDoNotDependOnBatchSize) {
  const std::vector<BatchResult> single = write(options(1));
  ASSERT_EQ(single.size(), sequences_.size());
  for (const int64_t size : {2, 4, 16}) {
    const std::vector<BatchResult> batched = write(options(size));
    ASSERT_EQ(batched.size(), single.size());
    for (size_t i = 0; i < single.size(); ++i) {
      EXPECT_EQ(batched[i].tokens, single[i].tokens) << i;
      for (size_t t = 0; t < single[i].signals.size(); ++t) {
        EXPECT_EQ(batched[i].signals[t].ids, single[i].signals[t].ids);
        EXPECT_EQ(batched[i].signals[t].log_probs, single[i].signals[t].log_probs);
        EXPECT_EQ(batched[i].signals[t].tail_mass, single[i].signals[t].tail_mass);
      }
    }
  }
}

TEST_F(Batch, SignalsAreTheModelsOwnDistribution) {
  const std::vector<BatchResult> results = write(options(4));
  const BatchResult& result = results[5];
  std::vector<int32_t> all = sequences_[5].prompt;
  all.insert(all.end(), result.tokens.begin(), result.tokens.end());
  const auto logits = forward_reference(file_, all);  // (T, V)
  ASSERT_EQ(result.signals.size(), result.tokens.size());
  for (size_t t = 0; t < result.signals.size(); ++t) {
    const std::vector<double>& row = logits[sequences_[5].prompt.size() - 1 + t];
    double sum = 0.0, held = 0.0;
    for (const double x : row) sum += std::exp(x);
    const TopK& signal = result.signals[t];
    ASSERT_EQ(signal.ids.size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(signal.log_probs[i], row[static_cast<size_t>(signal.ids[i])] - std::log(sum), 1e-4);
      held += std::exp(static_cast<double>(signal.log_probs[i]));
      if (i > 0) {
        EXPECT_LE(signal.log_probs[i], signal.log_probs[i - 1]);
      }
    }
    EXPECT_NEAR(signal.tail_mass, 1.0 - held, 1e-5);
  }
}

TEST_F(Batch, TextDoesNotDependOnWhatTheCacheHolds) {
  const GenerateOptions how{.max_tokens = 20, .sampling = {.temperature = 1.0}, .seed = 5, .stop = {}};
  const std::vector<int32_t> prompt{1, 3, 5, 7, 9, 11};
  KvCache fresh(model_), begun(model_), whole(model_);
  std::vector<Row> rows;
  for (size_t i = 0; i < 4; ++i) rows.push_back({&begun, prompt[i], false});
  forward(model_, rows, work_);
  const Generated expected = generate(model_, fresh, prompt, how, work_);
  EXPECT_EQ(generate(model_, begun, prompt, how, work_).tokens, expected.tokens);
  EXPECT_EQ(begun.length_tokens(), fresh.length_tokens());
  EXPECT_EQ(expected.tokens.size(), 20u);
  EXPECT_THROW(generate(model_, whole, {}, how, work_), Error);
  EXPECT_THROW(generate(model_, begun, prompt, how, work_), Error) << "nothing is new";
}

TEST_F(Batch, EqualsASingleGeneration) {
  BatchOptions how = options(4);
  how.text.sampling.temperature = 0.0;
  const std::vector<BatchResult> results = write(how);
  for (size_t i = 0; i < sequences_.size(); ++i) {
    KvCache cache(model_);
    const Generated alone = generate(model_, cache, sequences_[i].prompt, how.text, work_);
    EXPECT_EQ(alone.tokens, results[i].tokens) << i;
    EXPECT_EQ(alone.text, results[i].text) << i;
  }
}

TEST_F(Batch, StopsWhenToldAndRefusesNonsense) {
  size_t delivered = 0;
  generate_batch(model_, source_of(sequences_), options(3), work_,
                 [&](const BatchResult&) { return ++delivered == 2 ? Flow::Stop : Flow::GoOn; });
  EXPECT_EQ(delivered, 2u);
  const auto ignore = [](const BatchResult&) { return Flow::GoOn; };
  EXPECT_THROW(generate_batch(model_, source_of(sequences_), options(0), work_, ignore), Error);
  const std::vector<BatchSequence> empty{{.id = 1, .prompt = {}}};
  EXPECT_THROW(generate_batch(model_, source_of(empty), options(1), work_, ignore), Error);
  EXPECT_THROW(
      generate_batch(model_, source_of(sequences_), options(2), work_, ignore, [](const Event&) { return Flow::Stop; }),
      Error);
}

TEST_F(Batch, AsksForASequenceOnlyWhenThereIsRoom) {
  size_t asked = 0, delivered = 0;
  const BatchSource endless = [&]() -> std::optional<BatchSequence> { return sequences_[asked++ % sequences_.size()]; };
  generate_batch(model_, endless, options(3), work_, [&](const BatchResult&) {
    EXPECT_LE(asked, ++delivered + 12);  // three under way, and what waits for an earlier one
    return delivered == 20 ? Flow::Stop : Flow::GoOn;
  });
}

}  // namespace
}  // namespace attar::runtime
