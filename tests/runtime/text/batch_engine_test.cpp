// BatchEngine: each text as generate() alone gives it, whatever else is under way; what is bounded stays so.
#include "runtime/text/batch_engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/model/workspace.h"
#include "tests/runtime/spoken_model.h"
#include "tests/runtime/tiny_model.h"

namespace attar::runtime {
namespace {

// What a text was drawn from, row by row: tiny models say the same to many prompts, but not by the same bits.
using Logits = std::vector<std::vector<float>>;

struct Heard {
  Logits logits;
  std::vector<int32_t> tokens;
  std::string text;
  std::vector<int64_t> read;
  std::optional<Ended> ended;
};

class Engine : public ::testing::Test {
 protected:
  Engine()
      : pool_(2),
        model_(Model::load(tiny_model(config(), {.matrix_type = TensorType::Q8_0}), {}, pool_)),
        work_(model_, pool_) {}

  static ModelConfig config() {
    ModelConfig config = tiny_config({.matrix_type = TensorType::Q8_0});
    config.context_length = 2048;
    return config;
  }
  static std::vector<int32_t> tokens(int64_t n, uint64_t seed) {
    const CounterRandom random(seed);
    std::vector<int32_t> out;
    for (uint64_t i = 0; i < static_cast<uint64_t>(n); ++i) out.push_back(static_cast<int32_t>(random.below(i, 32)));
    return out;
  }
  // Of all kinds: greedy and not, with stop texts, penalties, guesses, short and longer than a pass.
  static BatchRequest request(uint64_t i) {
    BatchRequest r;
    const int64_t lengths[] = {1, 700, 3, 40, 300, 17, 9, 1200};
    r.prompt = tokens(lengths[i % 8], 50 + i);
    r.options.max_tokens = 5 + static_cast<int64_t>(7 * i % 30);
    r.options.seed = i;
    r.options.sampling.temperature = i % 3 == 0 ? 0.0 : 1.0;
    r.options.sampling.repetition_penalty = i % 4 == 1 ? 1.3 : 1.0;
    r.options.lookup = i % 2 == 1 ? 4 : 0;
    if (i % 5 == 2) r.options.stop = {"b", "xyz"};
    return r;
  }
  // Seed 1: the model itself.
  Draft draft_of(uint64_t seed, int64_t context_length = 2048) {
    ModelConfig small = config();
    small.context_length = context_length;
    const TinyOptions options{.matrix_type = TensorType::Q8_0, .seed = seed};
    return Draft(Model::load(tiny_model(small, options), {}, pool_), model_, pool_);
  }
  struct Alone {
    Generated text;
    Logits logits;
  };
  Alone alone(const BatchRequest& r) {
    KvCache cache(model_);
    GenerateOptions options = r.options;
    Logits logits;
    options.on_logits = [&](std::span<float> row) {
      logits.emplace_back(row.begin(), row.end());
      return Flow::GoOn;
    };
    Generated text = generate(model_, cache, r.prompt, options, work_);
    return {std::move(text), std::move(logits)};
  }
  uint64_t submit(BatchEngine& engine, BatchRequest r) {
    auto heard = std::make_shared<Heard>();
    r.on_drawn = [heard](std::span<const float> row) { heard->logits.emplace_back(row.begin(), row.end()); };
    r.on_token = [heard](int32_t token) { return heard->tokens.push_back(token), Flow::GoOn; };
    r.on_text = [heard](std::string_view text) { return heard->text += text, Flow::GoOn; };
    r.on_prompt = [heard](int64_t read, int64_t) { return heard->read.push_back(read), Flow::GoOn; };
    r.on_end = [heard](const Ended& ended) {
      EXPECT_FALSE(heard->ended.has_value()) << "once";
      heard->ended = ended;
    };
    const uint64_t id = engine.submit(std::move(r));
    heard_[id] = heard;
    return id;
  }
  void expect_as_alone(uint64_t id, const Alone& by_itself) {
    const Generated& expected = by_itself.text;
    const Heard& heard = *heard_.at(id);
    ASSERT_TRUE(heard.ended.has_value()) << id;
    EXPECT_EQ(heard.logits, by_itself.logits) << id;
    EXPECT_EQ(heard.ended->text.tokens, expected.tokens) << id;
    EXPECT_EQ(heard.ended->text.text, expected.text) << id;
    EXPECT_EQ(heard.ended->text.reason, expected.reason) << id;
    EXPECT_EQ(heard.tokens, expected.tokens) << id;
    EXPECT_EQ(heard.text, expected.text) << id;
  }

  ThreadPool pool_;
  Model model_;
  Workspace work_;
  std::map<uint64_t, std::shared_ptr<Heard>> heard_;
};

TEST_F(Engine, WritesWhatGenerateWrites) {
  constexpr uint64_t kRequests = 24;
  std::vector<Alone> expected;
  for (uint64_t i = 0; i < kRequests; ++i) expected.push_back(alone(request(i)));
  for (const EngineOptions& options :
       {EngineOptions{}, EngineOptions{.max_sequences = 1}, EngineOptions{.max_sequences = 3, .prompt_tokens = 7},
        EngineOptions{.max_sequences = 5, .max_kv_bytes = kv_bytes(model_, 2048), .kept_bytes = 0},
        EngineOptions{.max_sequences = 40, .prompt_tokens = 512}}) {
    BatchEngine engine(model_, work_, options);
    std::vector<uint64_t> ids;
    for (uint64_t i = 0; i < kRequests / 2; ++i) ids.push_back(submit(engine, request(i)));
    while (engine.step()) {
      const BatchEngine::Load load = engine.load();
      EXPECT_LE(load.active, options.max_sequences);
      if (options.max_kv_bytes > 0) {
        EXPECT_LE(load.kv_bytes + load.kept_bytes, options.max_kv_bytes);
      }
      EXPECT_LE(load.kept_bytes, options.kept_bytes);
      if (ids.size() < kRequests) ids.push_back(submit(engine, request(ids.size())));  // others come meanwhile
    }
    ASSERT_EQ(ids.size(), kRequests);
    for (uint64_t i = 0; i < kRequests; ++i) expect_as_alone(ids[i], expected[i]);
    EXPECT_EQ(engine.load().active + engine.load().waiting, 0);
    EXPECT_EQ(engine.load().kv_bytes, 0u);
  }
}

// Which guesses as the model writes, or badly, or for short texts alone.
TEST_F(Engine, WritesTheSameWithADraft) {
  constexpr uint64_t kRequests = 12;
  std::vector<Alone> expected;
  for (uint64_t i = 0; i < kRequests; ++i) expected.push_back(alone(request(i)));
  struct Case {
    uint64_t seed;
    int64_t context_length, least_accepted;
  };
  for (const Case& c : {Case{1, 2048, 20}, Case{2, 2048, 0}, Case{1, 320, 1}}) {
    Draft draft = draft_of(c.seed, c.context_length);
    for (const EngineOptions& options :
         {EngineOptions{.draft = &draft}, EngineOptions{.max_sequences = 3, .prompt_tokens = 7, .draft = &draft},
          EngineOptions{
              .max_sequences = 5, .max_kv_bytes = 2 * kv_bytes(model_, 2048), .kept_bytes = 0, .draft = &draft}}) {
      BatchEngine engine(model_, work_, options);
      std::vector<uint64_t> ids;
      for (uint64_t i = 0; i < kRequests; ++i) ids.push_back(submit(engine, request(i)));
      while (engine.step()) {
        const BatchEngine::Load load = engine.load();
        if (options.max_kv_bytes > 0) {
          EXPECT_LE(load.kv_bytes + load.kept_bytes, options.max_kv_bytes);
        }
      }
      int64_t accepted = 0;
      for (uint64_t i = 0; i < kRequests; ++i) {
        expect_as_alone(ids[i], expected[i]);
        accepted += heard_.at(ids[i])->ended->text.speculation.accepted;
      }
      EXPECT_GE(accepted, c.least_accepted) << c.seed << " " << c.context_length;
      EXPECT_EQ(engine.load().kv_bytes, 0u);
    }
  }
}

// No more rows with logits than a pass has, however many texts the draft could guess for: of 100 four tokens each,
// where it would soon guess eight; of 300 none.
TEST_F(Engine, GuessesOfADraftAreBounded) {
  Draft draft = draft_of(1);
  for (const int64_t n : {100, 300}) {
    BatchEngine engine(model_, work_, {.max_sequences = n, .draft = &draft});
    BatchRequest r = request(0);
    r.options.max_tokens = n == 100 ? 40 : 9;
    std::vector<uint64_t> ids;
    for (int64_t i = 0; i < n; ++i) ids.push_back(submit(engine, r));
    while (engine.step()) EXPECT_LE(work_.buffers().logits_rows, kMaxPassRows);
    const Alone expected = alone(r);
    for (const uint64_t id : {ids.front(), ids.back()}) {
      expect_as_alone(id, expected);
      const Speculation& told = heard_.at(id)->ended->text.speculation;
      EXPECT_EQ(told.accepted > 0, n == 100);
    }
  }
}

// Its weights are numbers, its logits are not.
TEST(DraftOfAnEngine, WhoseNumbersAreNoneGuessesNothing) {
  ThreadPool pool(2);
  const TokenizerData tokenizer = spoken_tokenizer({"a", "b", "c", "d", "e", "f", "g", "h", "i"});
  const Model model = Model::load(successor_model(tokenizer, 20.0), {}, pool);
  Draft draft(Model::load(successor_model(tokenizer, 1e39), {}, pool), model, pool);
  Workspace work(model, pool);
  const std::vector<int32_t> prompt{3};
  GenerateOptions options{.max_tokens = 5, .sampling = {.temperature = 0.0}, .seed = 0, .stop = {}};
  const auto alone = [&] {
    KvCache cache(model);
    return generate(model, cache, prompt, options, work);
  };
  const std::vector<int32_t> expected{4, 5, 6, 7, 8};
  EXPECT_EQ(alone().tokens, expected);
  options.draft = &draft;
  const Generated drafted = alone();
  EXPECT_EQ(drafted.tokens, expected);
  EXPECT_EQ(drafted.speculation.guessed, 0);
  options.draft = nullptr;
  BatchEngine engine(model, work, {.draft = &draft});
  std::vector<Ended> ended;
  for (int i = 0; i < 2; ++i) {
    BatchRequest r;
    r.prompt = prompt;
    r.options = options;
    r.on_end = [&](const Ended& end) { ended.push_back(end); };
    engine.submit(std::move(r));
  }
  for (int i = 0; i < 20 && engine.step(); ++i) continue;
  ASSERT_EQ(ended.size(), 2u);
  for (const Ended& one : ended) {
    EXPECT_EQ(one.error, nullptr);
    EXPECT_EQ(one.text.reason, StopReason::MaxTokens);
    EXPECT_EQ(one.text.tokens, expected);
    EXPECT_EQ(one.text.speculation.guessed, 0);
  }
  EXPECT_EQ(engine.load().active, 0);
  EXPECT_EQ(engine.load().kv_bytes, 0u);
}

TEST_F(Engine, LongPromptsLetOthersSpeak) {
  BatchEngine engine(model_, work_, {.prompt_tokens = 16});
  BatchRequest talk = request(0), book = request(7), note = request(0);
  talk.options.max_tokens = 200;
  note.prompt = tokens(20, 3);
  const uint64_t first = submit(engine, talk);
  engine.step();
  const uint64_t second = submit(engine, book);
  submit(engine, book);  // the same, which waits for what the first reads
  const uint64_t late = submit(engine, note);
  for (int i = 0; i < 3; ++i) engine.step();
  EXPECT_EQ(heard_[first]->tokens.size(), 4u) << "a token a step";
  EXPECT_EQ(heard_[second]->read, (std::vector<int64_t>{8, 16, 28})) << "half of the steps, then what the note leaves";
  EXPECT_EQ(heard_[late]->tokens.size(), 1u) << "a short prompt beside a long one";
  while (engine.step()) continue;
  EXPECT_EQ(heard_[second]->ended->text.tokens, alone(book).text.tokens);
}

TEST_F(Engine, SharesBeginnings) {
  const std::vector<int32_t> start = tokens(500, 1);
  const auto with_end = [&](uint64_t seed) {
    BatchRequest r = request(0);
    r.prompt = start;
    for (const int32_t token : tokens(5, seed)) r.prompt.push_back(token);
    return r;
  };
  BatchEngine engine(model_, work_, {.max_sequences = 3});
  std::vector<uint64_t> ids;
  for (uint64_t i = 0; i < 6; ++i) ids.push_back(submit(engine, with_end(60 + i)));
  while (engine.step()) continue;
  for (uint64_t i = 0; i < 6; ++i) {
    expect_as_alone(ids[i], alone(with_end(60 + i)));
    EXPECT_GE(heard_[ids[i]]->ended->held_tokens, i == 0 ? 0 : 500) << "of one under way, or of one that ended";
    EXPECT_EQ(heard_[ids[i]]->ended->held_tokens == 0, i == 0);
  }
  // A conversation goes on: all but the last token of what was said is held.
  BatchRequest more = with_end(60);
  const Generated said = alone(more).text;
  more.prompt.insert(more.prompt.end(), said.tokens.begin(), said.tokens.end());
  more.prompt.push_back(5);
  const uint64_t id = submit(engine, more);
  while (engine.step()) continue;
  expect_as_alone(id, alone(more));
  EXPECT_EQ(heard_[id]->ended->held_tokens, static_cast<int64_t>(more.prompt.size()) - 2);
  // The oldest goes: with room for one text, only the last one is known.
  BatchEngine small(model_, work_, {.kept_bytes = kv_bytes(model_, 600)});
  for (const uint64_t seed : {1, 2, 1}) {
    BatchRequest r = request(0);
    r.prompt = tokens(500, seed);
    const uint64_t one = submit(small, r);
    while (small.step()) continue;
    EXPECT_EQ(heard_[one]->ended->held_tokens, 0);
    EXPECT_LE(small.load().kept_bytes, kv_bytes(model_, 600));
    EXPECT_GT(small.load().kept_bytes, 0u);
  }
}

// Texts whose prompt is held already all guess in one step, four tokens each: more than there may be logits of.
TEST_F(Engine, GuessesOfAllTextsAreBounded) {
  constexpr uint64_t kRequests = 200;
  const auto quoting = [](uint64_t seed) {
    BatchRequest r;
    const std::vector<int32_t> quoted = tokens(16, 300);
    r.prompt = quoted;
    r.prompt.insert(r.prompt.end(), quoted.begin(), quoted.end());
    r.options.max_tokens = 12;
    r.options.seed = seed;
    r.options.lookup = kMostGuesses;
    return r;
  };
  BatchEngine engine(model_, work_, {.max_sequences = kRequests});
  submit(engine, quoting(0));
  while (engine.step()) continue;
  EXPECT_LE(work_.buffers().logits_rows, kMostGuesses + 1);
  std::vector<uint64_t> ids;
  for (uint64_t i = 0; i < kRequests; ++i) ids.push_back(submit(engine, quoting(i)));
  engine.step();
  EXPECT_EQ(work_.buffers().logits_rows, kMaxPassRows) << "one a text, and guesses of the oldest";
  while (engine.step()) continue;
  EXPECT_LE(work_.buffers().logits_rows, kMaxPassRows);
  for (const uint64_t i : {0, 77, 78, 79, 199}) expect_as_alone(ids[i], alone(quoting(i)));
}

// At any moment, from outside and out of callbacks: memory is free, and the others' texts are what they were.
TEST_F(Engine, CancelledRequestsLeaveNothing) {
  constexpr uint64_t kRequests = 8;
  std::vector<Alone> expected;
  for (uint64_t i = 0; i < kRequests; ++i) expected.push_back(alone(request(i)));
  const CounterRandom random(4);
  Draft draft = draft_of(2);
  for (uint64_t trial = 0; trial < 40; ++trial) {
    BatchEngine engine(
        model_, work_,
        {.max_sequences = 4, .kept_bytes = 0, .prompt_tokens = 32, .draft = trial % 2 == 1 ? &draft : nullptr});
    std::vector<uint64_t> ids;
    for (uint64_t i = 0; i < kRequests; ++i) ids.push_back(submit(engine, request(i)));
    const uint64_t victim = ids[random.below(2 * trial, kRequests)];
    const uint64_t when = random.below(2 * trial + 1, 60);
    bool there = false;
    for (uint64_t step = 0; step < when && engine.step(); ++step) continue;
    const bool over = heard_[victim]->ended.has_value();
    const BatchEngine::Load before = engine.load();
    there = engine.cancel(victim);
    EXPECT_EQ(there, !over);
    const BatchEngine::Load after = engine.load();
    EXPECT_EQ(after.active + after.waiting, before.active + before.waiting - (there ? 1 : 0)) << "at once";
    EXPECT_LE(after.kv_bytes, before.kv_bytes);
    EXPECT_FALSE(engine.cancel(victim)) << "twice";
    const size_t told = heard_[victim]->tokens.size();
    while (engine.step()) continue;
    EXPECT_EQ(heard_[victim]->tokens.size(), told) << "nothing more is heard of it";
    EXPECT_EQ(heard_[victim]->ended.has_value(), over);
    for (uint64_t i = 0; i < kRequests; ++i)
      if (ids[i] != victim) expect_as_alone(ids[i], expected[i]);
    EXPECT_EQ(engine.load().kv_bytes + engine.load().kept_bytes, 0u);
  }
}

TEST_F(Engine, CallbacksMaySubmitCancelAndStop) {
  BatchEngine engine(model_, work_, {.kept_bytes = 0});
  BatchRequest other = request(0), first = request(0);
  other.options.max_tokens = first.options.max_tokens = 30;
  const uint64_t cancelled = submit(engine, other);
  uint64_t submitted = 0, own = 0;
  int tokens = 0;
  bool ended = false;
  first.on_token = [&](int32_t) {
    if (++tokens == 3) {
      EXPECT_TRUE(engine.cancel(cancelled));
      submitted = submit(engine, request(2));
      EXPECT_THROW(engine.step(), Error);
    }
    if (tokens == 5) {
      EXPECT_TRUE(engine.cancel(own));
    }
    return Flow::GoOn;
  };
  first.on_end = [&](const Ended&) { ended = true; };
  own = engine.submit(first);
  BatchRequest stopping = request(0);
  stopping.options.max_tokens = 30;
  std::optional<Ended> stopped;
  stopping.on_token = [&, n = 0](int32_t) mutable { return ++n == 2 ? Flow::Stop : Flow::GoOn; };
  stopping.on_end = [&](const Ended& end) { stopped = end; };
  engine.submit(stopping);
  while (engine.step()) continue;
  EXPECT_EQ(tokens, 5);
  EXPECT_FALSE(ended);
  EXPECT_LE(heard_[cancelled]->tokens.size(), 3u);
  EXPECT_FALSE(heard_[cancelled]->ended.has_value());
  expect_as_alone(submitted, alone(request(2)));
  ASSERT_TRUE(stopped.has_value());
  EXPECT_EQ(stopped->text.reason, StopReason::Interrupted);
  EXPECT_EQ(stopped->error, nullptr);
  EXPECT_EQ(engine.load().kv_bytes, 0u);
}

// What goes wrong with one text ends that one.
TEST_F(Engine, ErrorsEndOneText) {
  BatchEngine engine(model_, work_, {});
  BatchRequest wrong = request(0), stopped = request(3);
  wrong.options.on_logits = [n = 0](std::span<float> logits) mutable {
    if (++n == 3) logits[0] = std::numeric_limits<float>::quiet_NaN();
    return Flow::GoOn;
  };
  stopped.options.on_logits = [](std::span<float>) -> Flow { throw std::runtime_error("of the caller's"); };
  const uint64_t first = submit(engine, wrong), second = submit(engine, stopped), third = submit(engine, request(2));
  while (engine.step()) continue;
  ASSERT_TRUE(heard_[first]->ended && heard_[second]->ended);
  EXPECT_EQ(heard_[first]->tokens.size(), 2u);
  EXPECT_EQ(heard_[first]->ended->text.reason, StopReason::Interrupted);
  EXPECT_THROW(std::rethrow_exception(heard_[first]->ended->error), Error);
  EXPECT_THROW(std::rethrow_exception(heard_[second]->ended->error), std::runtime_error);
  expect_as_alone(third, alone(request(2)));
}

TEST_F(Engine, RefusesWhatCannotBe) {
  BatchEngine engine(model_, work_, {.max_kv_bytes = kv_bytes(model_, 300)});
  const auto refused = [&](const std::function<void(BatchRequest&)>& spoil) {
    BatchRequest r = request(0);
    r.prompt = tokens(10, 1);
    spoil(r);
    try {
      engine.submit(r);
      return std::string("nothing");
    } catch (const Error& error) {
      return error.parts().where;
    }
  };
  EXPECT_EQ(refused([](BatchRequest& r) { r.prompt.clear(); }), "the prompt");
  EXPECT_EQ(refused([](BatchRequest& r) { r.prompt.push_back(32); }), "token");
  EXPECT_EQ(refused([](BatchRequest& r) { r.prompt.assign(2049, 1); }), "the prompt");
  EXPECT_EQ(refused([](BatchRequest& r) { r.options.max_tokens = 600; }), "the prompt") << "more than there may be";
  EXPECT_EQ(refused([](BatchRequest& r) { r.options.max_tokens = std::numeric_limits<int64_t>::max(); }), "the prompt");
  EXPECT_EQ(refused([](BatchRequest& r) { r.options.max_tokens = -1; }), "max_tokens");
  EXPECT_EQ(refused([](BatchRequest& r) { r.options.lookup = 65; }), "lookup");
  EXPECT_EQ(refused([](BatchRequest& r) { r.options.sampling.top_p = 2; }), "--top-p");
  Draft draft = draft_of(1);
  EXPECT_EQ(refused([&](BatchRequest& r) { r.options.draft = &draft; }), "draft");
  EXPECT_FALSE(engine.step()) << "nothing was taken";
  EXPECT_THROW(BatchEngine(model_, work_, {.max_sequences = 0}), Error);
  EXPECT_THROW(BatchEngine(model_, work_, {.prompt_tokens = 513}), Error);
}

}  // namespace
}  // namespace attar::runtime
