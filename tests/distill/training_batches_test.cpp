#include "distill/training_batches.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "compress/dataset/signal_rows.h"
#include "distill/signal_source.h"
#include "distill/training_state.h"
#include "runtime/base/error.h"
#include "tests/compress/stored_data.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

std::multiset<std::vector<int32_t>> texts_of(const TokenDataset& data) {
  std::multiset<std::vector<int32_t>> texts;
  for (const TokenDocument& document : data.documents) texts.insert(document.tokens);
  return texts;
}

TEST(HoldOut, TakesWholeDocumentsAndLosesNone) {
  const TokenDataset all = countable(30);
  TokenDataset rest = all;
  const TokenDataset held = hold_out(rest, 100, 3);
  EXPECT_GE(held.loss_token_count(), 100);
  EXPECT_LT(held.loss_token_count(), 100 + all.longest_tokens());
  auto together = texts_of(held);
  together.merge(texts_of(rest));
  EXPECT_EQ(together, texts_of(all));
}

// A source of weight 3 is there three times: what is held out of it is not learned from either.
TEST(HoldOut, CopiesAreNotLearned) {
  TokenDataset rest = countable(30);
  const std::vector<TokenDocument> once = rest.documents;
  for (int copy = 0; copy < 2; ++copy) rest.documents.insert(rest.documents.end(), once.begin(), once.end());
  const auto held = texts_of(hold_out(rest, 100, 3));
  EXPECT_GE(held.size(), 3u);
  EXPECT_EQ(std::set(held.begin(), held.end()).size(), held.size()) << "a copy says nothing new";
  const auto learned = texts_of(rest);
  for (const std::vector<int32_t>& text : held) EXPECT_FALSE(learned.contains(text));
  EXPECT_EQ(learned.size(), 3 * (once.size() - held.size())) << "others keep their copies";
}

void leave_out(TokenDocument& document) {
  document.in_loss.assign(document.tokens.size(), 0);
}
void count_for_nothing(TokenDocument& document) {
  document.weights.assign(document.tokens.size(), 0.0f);
}

// A document a batch, two epochs of those that teach something.
TEST(DatasetBatches, PassOverWhatTeachesNothing) {
  TokenDataset data = countable(12);
  for (size_t d = 0; d < 12; ++d) {
    if (d % 3 == 0) leave_out(data.documents[d]);
    if (d % 3 == 1) count_for_nothing(data.documents[d]);
  }
  DistillOptions options = quick(100);
  options.batch_tokens = 1;
  DatasetBatches batches(data, SignalSource::None, options, 3, {});
  std::map<int64_t, int> seen;
  for (int i = 0; i < 8; ++i) {
    const TrainingBatch batch = batches.next();
    ASSERT_EQ(batch.pieces.size(), 1u);
    EXPECT_GT(batch.tokens.weight, 0.0);
    ++seen[batch.pieces[0].document];
  }
  EXPECT_EQ(seen, (std::map<int64_t, int>{{2, 2}, {5, 2}, {8, 2}, {11, 2}}));
  EXPECT_EQ(batches.position().epoch, 1);
}

TEST(DatasetBatches, NothingToLearnIsSaid) {
  const auto said = [](const std::function<void(TokenDocument&)>& change) -> std::string {
    TokenDataset data = countable(12);
    for (TokenDocument& document : data.documents) change(document);
    try {
      DatasetBatches batches(data, SignalSource::None, quick(100), 3, {});
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Input);
      return error.what();
    }
  };
  EXPECT_NE(said(leave_out).find("no token of the loss"), std::string::npos);
  EXPECT_NE(said(count_for_nothing).find("the weight 0"), std::string::npos);
}

// Of documents that count for nothing no step divides by the sum of their weights, and no look at what is held out.
TEST(DatasetBatches, AWeightOfZeroTeachesAsNoLossDoes) {
  const auto trained = [](const std::function<void(TokenDocument&)>& change) {
    TokenDataset data = countable(30);
    for (size_t d = 0; d < 30; d += 2) change(data.documents[d]);
    DistillOptions options = quick(300);
    options.batch_tokens = 1, options.checkpoint_every_steps = 0;
    options.held_out_tokens = 20, options.held_out_every_steps = 5;
    CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
    const TrainResult result = train(model, byte_tokenizer(), {.data = &data, .seed = 3}, options);
    EXPECT_EQ(result.skipped_steps, 0);
    int looks = 0;
    for (const TrainStep& step : result.history) {
      EXPECT_TRUE(std::isfinite(step.loss)) << step.step;
      if (!step.held_out) continue;
      EXPECT_TRUE(std::isfinite(*step.held_out)) << step.step;
      ++looks;
    }
    EXPECT_GT(looks, 1);
    return model;
  };
  EXPECT_TRUE(same(trained(count_for_nothing), trained(leave_out)));
}

// As many tokens that count as were asked for, whatever lies between them.
TEST(HoldOut, CountsWhatCounts) {
  TokenDataset rest = countable(30);
  for (size_t d = 0; d < 30; d += 2) count_for_nothing(rest.documents[d]);
  const TokenDataset held = hold_out(rest, 60, 3);
  double weight = 0.0;
  for (const TokenDocument& document : held.documents)
    if (document.weights.empty()) weight += static_cast<double>(document.tokens.size() - 1);
  EXPECT_GE(weight, 60.0);
}

TokenDataset without_gaps(int documents) {
  TokenDataset data = countable(documents);
  data.signal_k = 1;
  for (TokenDocument& document : data.documents) {
    document.signal_ids = document.tokens;
    document.signal_log_probs.assign(document.tokens.size(), -0.1f);
  }
  return data;
}

// Trainings from a signal of each kind, in memory and on disk.
class SignalsOnDisk : public testing::Test {
 protected:
  struct Learned {
    CausalLM model;
    TrainResult result;
  };
  Learned learned(const TokenDataset& data, const DistillOptions& options, const std::string& checkpoints = {},
                  const Progress& progress = {}) const {
    Learned out{CausalLM::random(tiny_config(Family::Llama), 1), {}};
    out.result = train(out.model, byte_tokenizer(),
                       {.teacher = &teacher_,
                        .teacher_head = data.hidden_width > 0 ? teacher_.head() : at::Tensor(),
                        .data = &data,
                        .write_rollouts = write_by_rule,
                        .checkpoint_directory = checkpoints,
                        .resume = !checkpoints.empty(),
                        .seed = 3},
                       options, progress);
    return out;
  }
  static void expect_same(const Learned& a, const Learned& b, const std::string& where) {
    EXPECT_TRUE(same(a.model, b.model)) << where;
    ASSERT_EQ(a.result.history.size(), b.result.history.size()) << where;
    EXPECT_EQ(a.result.gaps->unsignalled, b.result.gaps->unsignalled) << where;
    EXPECT_EQ(a.result.gaps->dropped_mass, b.result.gaps->dropped_mass) << where;
    for (size_t i = 0; i < a.result.history.size(); ++i) {
      EXPECT_EQ(a.result.history[i].loss, b.result.history[i].loss) << where << ", step " << i;
      EXPECT_EQ(a.result.history[i].held_out, b.result.history[i].held_out) << where << ", step " << i;
      ASSERT_EQ(a.result.history[i].gaps.has_value(), b.result.history[i].gaps.has_value()) << where;
      if (!a.result.history[i].gaps) continue;
      EXPECT_EQ(a.result.history[i].gaps->unsignalled, b.result.history[i].gaps->unsignalled) << where;
    }
  }
  static std::vector<Rollout> write_by_rule(const CausalLM&, const RolloutRequest& request, const Progress&) {
    std::vector<Rollout> written;
    for (const std::vector<int32_t>& prompt : request.prompts)
      written.push_back({{(prompt.back() + 3) % 300, (prompt.back() + 6) % 300, 7}, true});
    return written;
  }
  static DistillOptions from_cache() {
    DistillOptions options = quick(700);
    options.losses = {{"forward_kl", 1.0}, {"cross_entropy", 0.1}};
    options.signal = "cached";
    return options;
  }
  static TokenDataset kept(SignalKind kind) {
    return signalled_by(kind, countable(40), 300, tiny_config(Family::Llama).width);
  }

  const CausalLM teacher_ = CausalLM::random(tiny_config(Family::Llama), 9);
  const TestFolder own_{"signals_on_disk"};
};

TEST_F(SignalsOnDisk, TeachTheSameBytes) {
  for (const SignalKind kind : kSignalKinds) {
    const TokenDataset data = kept(kind), stored = on_disk(data, own_ / name_of(kind), 300);
    const auto check = [&](const char* what, const DistillOptions& options) {
      expect_same(learned(stored, options), learned(data, options), name_of(kind) + ", " + what);
    };
    DistillOptions options = from_cache();
    check("plain", options);
    options.sequence_tokens = 11;
    check("cut", options);
    options.held_out_tokens = 60, options.held_out_every_steps = 2;
    check("held out", options);
    options.unsignalled = "online";
    check("beside the teacher", options);
    EXPECT_TRUE(needs_teacher_beside(options, stored));
    options.curriculum = 0.5;
    check("from easy to hard", options);
  }
}

// Steps of its own text have the teacher beside it and no signal.
TEST_F(SignalsOnDisk, TeachTheSameBytesBesideTextOfTheStudent) {
  DistillOptions options = from_cache();
  options.on_policy = 0.5, options.replay = 0.3;
  options.rollouts = 6, options.rollout_tokens = 9, options.rollout_prompt_tokens = 4;
  for (const SignalKind kind : kSignalKinds) {
    const TokenDataset data = kept(kind);
    const Learned stored = learned(on_disk(data, own_ / name_of(kind), 300), options);
    expect_same(stored, learned(data, options), name_of(kind));
    int64_t own = 0;
    for (const TrainStep& step : stored.result.history) {
      EXPECT_NE(step.on_policy, step.gaps.has_value()) << name_of(kind) << ", step " << step.step;
      own += step.on_policy ? 1 : 0;
    }
    EXPECT_GT(own, 0) << name_of(kind);
    EXPECT_LT(own, stored.result.steps) << name_of(kind);
  }
}

// Also by weights of 0.
TEST_F(SignalsOnDisk, TeachTheSameBytesByWeight) {
  constexpr float kWeights[] = {2.5f, 1.0f, 0.0f};
  for (const SignalKind kind : kSignalKinds) {
    TokenDataset data = kept(kind);
    for (size_t d = 0; d < data.documents.size(); ++d)
      data.documents[d].weights.assign(data.documents[d].tokens.size(), kWeights[d % 3]);
    const TokenDataset stored = on_disk(data, own_ / ("weighed " + name_of(kind)), 300);
    expect_same(learned(stored, from_cache()), learned(data, from_cache()), name_of(kind));
    DistillOptions options = from_cache();
    options.sequence_tokens = 11, options.held_out_tokens = 60, options.held_out_every_steps = 2;
    expect_same(learned(stored, options), learned(data, options), name_of(kind) + ", cut and held out");
  }
}

TEST_F(SignalsOnDisk, NeedNoTeacherWhereTheyHaveGapsNoMoreThanInMemory) {
  DistillOptions options = from_cache();
  options.unsignalled = "online";
  for (const SignalKind kind : kSignalKinds) {
    TokenDataset data = kept(kind);
    EXPECT_TRUE(needs_teacher_beside(options, on_disk(data, own_ / ("gaps " + name_of(kind)), 300)));
  }
  const TokenDataset whole = without_gaps(10);
  EXPECT_FALSE(needs_teacher_beside(options, whole));
  EXPECT_FALSE(needs_teacher_beside(options, on_disk(whole, own_ / "whole", 300)));
}

// What a cut vocabulary keeps of a store's, -1: nothing.
std::vector<int32_t> all_ids() {
  std::vector<int32_t> ids(300);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

// Without its files: the making counted them.
TEST_F(SignalsOnDisk, GapsAreKnownWithoutReading) {
  DistillOptions options = from_cache();
  options.unsignalled = "online";
  const auto made = [&](const TokenDataset& data) {
    const TokenDataset stored = on_disk(data, own_ / "gone/signal", 300);
    std::filesystem::remove_all(own_ / "gone");
    return stored;
  };
  for (const SignalKind kind : kSignalKinds) EXPECT_TRUE(needs_teacher_beside(options, made(kept(kind))));
  TokenDataset whole = made(without_gaps(10));
  EXPECT_FALSE(needs_teacher_beside(options, whole));
  EXPECT_FALSE(needs_teacher_beside(options, cut_documents(whole, 4)));
  const TokenDataset held = hold_out(whole, 30, 3);
  EXPECT_FALSE(needs_teacher_beside(options, held));
  EXPECT_FALSE(needs_teacher_beside(options, whole));
  TokenDocument& anew = whole.documents[0];  // its second token is spelled in another way
  anew.stored.rows = {0, -1};
  for (size_t t = 2; t < anew.tokens.size(); ++t) anew.stored.rows.push_back(static_cast<int32_t>(t));
  whole.store_ids = all_ids();
  EXPECT_TRUE(needs_teacher_beside(options, whole));
}

// What was counted does not say whether the vocabulary has the tokens that the signal names, nor where its gaps are.
TEST_F(SignalsOnDisk, GapsAreLookedForWhereTheyMustBe) {
  DistillOptions options = from_cache();
  options.unsignalled = "online";
  TokenDataset data = on_disk(without_gaps(10), own_ / "whole", 300);
  data.store_ids = all_ids();
  int64_t reports = 0;
  const Progress count = [&](const Event& event) {
    EXPECT_EQ(event.total, data.token_count());
    ++reports;
    return Flow::GoOn;
  };
  EXPECT_FALSE(needs_teacher_beside(options, data, count));
  EXPECT_EQ(reports, 10);
  EXPECT_EQ(signal_source({.data = &data}, options, count), SignalSource::Cached);
  EXPECT_EQ(reports, 20);
  EXPECT_EQ(signal_source({.data = &data, .asked_beside = true}, options, count), SignalSource::Cached);
  EXPECT_EQ(reports, 20) << "who asked knows";
  try {
    needs_teacher_beside(options, data, [](const Event&) { return Flow::Stop; });
    ADD_FAILURE() << "Ctrl-C";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Interrupted);
  }
  data.store_ids[static_cast<size_t>(data.documents[9].tokens.back())] = -1;
  EXPECT_TRUE(needs_teacher_beside(options, data));

  TokenDataset gap = without_gaps(10);
  gap.documents[9].signal_ids.back() = -1;
  data = on_disk(gap, own_ / "gap", 300);
  EXPECT_TRUE(needs_teacher_beside(options, data, count));
  EXPECT_EQ(reports, 20) << "all of it is there";
  data.documents.pop_back();
  EXPECT_FALSE(needs_teacher_beside(options, data, count));
  EXPECT_EQ(reports, 29);
}

// As many as the losses pass over, however the making went.
TEST_F(SignalsOnDisk, GapsAreCountedAsTheyAreMade) {
  for (const SignalKind kind : kSignalKinds) {
    const TokenDataset data = kept(kind);
    int64_t silent = 0;
    for (int64_t d = 0; d < std::ssize(data.documents); ++d) {
      const TokenDocument& document = data.documents[static_cast<size_t>(d)];
      const int64_t here = loss_tokens(data, {{d, 0, std::ssize(document.tokens)}}, SignalSource::Cached).unsignalled;
      EXPECT_EQ(silent_tokens(document, data), here) << name_of(kind) << ", document " << d;
      silent += here;
    }
    EXPECT_GT(silent, 0);
    const std::string path = own_ / name_of(kind);
    {
      SignalShards broken(path, data, 300, {.tokens = 40});
      for (size_t d = 0; d < 20; ++d) broken.add(data.documents[d]);
    }
    SignalShards shards(path, data, 300, {.tokens = 40});
    EXPECT_GT(shards.documents(), 0);
    for (auto d = static_cast<size_t>(shards.documents()); d < data.documents.size(); ++d)
      shards.add(data.documents[d]);
    shards.finish();
    EXPECT_EQ(shards.store()->contents().silent_tokens, silent) << name_of(kind);
    EXPECT_EQ(SignalShards(path, data, 300).store()->contents().silent_tokens, silent) << name_of(kind);
  }
}

TEST_F(SignalsOnDisk, ATrainingResumesToTheSameBytes) {
  for (const SignalKind kind : kSignalKinds) {
    const TokenDataset stored = on_disk(kept(kind), own_ / name_of(kind), 300);
    const std::string checkpoints = own_ / ("checkpoints " + name_of(kind));
    int steps = 0;
    const Progress stop = [&](const Event&) { return ++steps == 3 ? Flow::Stop : Flow::GoOn; };
    EXPECT_THROW(learned(stored, from_cache(), checkpoints, stop), Error);
    expect_same(learned(stored, from_cache(), checkpoints), learned(kept(kind), from_cache()), name_of(kind));
  }
}

TEST_F(SignalsOnDisk, AnotherSignalIsAnotherTraining) {
  const TokenDataset data = kept(SignalKind::TopK);
  TokenDataset other = data;
  for (TokenDocument& document : other.documents)
    for (float& log_prob : document.signal_log_probs) log_prob -= 1.0f;
  const CausalLM student = CausalLM::random(tiny_config(Family::Llama), 1);
  const auto print_of = [&](const TokenDataset& of) { return fingerprint_of(student, {.data = &of}, from_cache()); };
  const TokenDataset stored = on_disk(data, own_ / "one", 300);
  EXPECT_EQ(print_of(stored), print_of(on_disk(data, own_ / "again", 300)));
  EXPECT_NE(print_of(stored), print_of(on_disk(other, own_ / "another", 300)));
  TokenDataset cut = stored;
  cut.store_ids.assign(300, 1);
  EXPECT_NE(print_of(stored), print_of(cut));
}

}  // namespace
}  // namespace attar
