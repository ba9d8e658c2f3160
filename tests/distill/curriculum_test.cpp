#include "distill/curriculum.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "compress/shards.h"
#include "distill/learner.h"
#include "runtime/base/error.h"
#include "tests/distill/tiny_training.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

class CurriculumTest : public testing::Test {
 protected:
  CurriculumTest() {
    options_ = quick(2000);
    options_.curriculum = 0.5;
    for (size_t d = 0; d < data_.documents.size(); ++d)  // the last documents are the easiest
      losses_.push_back(10.0 - 0.1 * static_cast<double>(d));
  }
  Curriculum curriculum() const { return {data_, losses_, SignalSource::None, options_, 3}; }

  TokenDataset data_ = countable(40);
  std::vector<double> losses_;
  DistillOptions options_;
};

TEST_F(CurriculumTest, ThePoolGrowsUntilItHoldsAll) {
  const Curriculum of = curriculum();
  EXPECT_DOUBLE_EQ(of.share_at(0), 0.1);
  EXPECT_DOUBLE_EQ(of.share_at(500), std::sqrt(0.5 * 0.99 + 0.01));
  EXPECT_DOUBLE_EQ(of.share_at(1000), 1.0);
  EXPECT_TRUE(of.takes(0) && of.takes(999));
  EXPECT_FALSE(of.takes(1000));
  EXPECT_FALSE(Curriculum().takes(0));
}

TEST_F(CurriculumTest, DrawsTheEasiestEachOnce) {
  const Curriculum of = curriculum();
  std::set<int64_t> seen;
  for (const int64_t tokens : {0, 100, 400, 999})
    for (int64_t step = 0; step < 50; ++step) {
      const TrainingBatch batch = of.next(step, tokens);
      std::set<int64_t> documents;
      int64_t predicted = 0;
      for (const Piece& piece : batch.pieces) {
        documents.insert(piece.document), predicted += piece.length - 1;
        EXPECT_GE(static_cast<double>(piece.document), 40.0 - std::ceil(40.0 * of.share_at(tokens)));
        EXPECT_EQ(piece.length, std::ssize(data_.documents[static_cast<size_t>(piece.document)].tokens));
      }
      EXPECT_EQ(documents.size(), batch.pieces.size());
      EXPECT_LE(predicted, options_.batch_tokens);
      EXPECT_EQ(batch.tokens.count, predicted);
      if (tokens == 999) seen.insert(documents.begin(), documents.end());
    }
  EXPECT_EQ(seen.size(), 40u) << "at the end of all of them";
  const auto pieces = [&](int64_t step) {
    std::vector<int64_t> documents;
    for (const Piece& piece : curriculum().next(step, 400).pieces) documents.push_back(piece.document);
    return documents;
  };
  EXPECT_EQ(pieces(7), pieces(7));
  EXPECT_NE(pieces(7), pieces(8));
}

TEST_F(CurriculumTest, PassesOverWhatTeachesNothing) {
  for (size_t d = 20; d < 40; ++d) std::fill(data_.documents[d].in_loss.begin(), data_.documents[d].in_loss.end(), 0);
  for (size_t d = 10; d < 20; ++d) data_.documents[d].weights.assign(data_.documents[d].tokens.size(), 0.0f);
  const Curriculum of = curriculum();
  for (int64_t step = 0; step < 20; ++step) {
    const TrainingBatch batch = of.next(step, 0);
    for (const Piece& piece : batch.pieces) EXPECT_LT(piece.document, 10);
    EXPECT_GT(batch.tokens.weight, 0.0);
  }
}

// By the teacher's logits of whole documents in double.
TEST_F(CurriculumTest, GoesByTheTeachersOwnLoss) {
  const OwnKernels own_kernels;
  const CausalLM student = CausalLM::random(tiny_config(Family::Llama), 1),
                 teacher = CausalLM::random(tiny_config(Family::Llama), 9);
  data_.documents[3].in_loss.assign(data_.documents[3].tokens.size(), 0);
  const TrainInputs inputs{.teacher = &teacher, .data = &data_, .threads = 2};
  const std::vector<double> losses = Learner(student, inputs, options_, SignalSource::None).teacher_losses(data_, {});
  for (int64_t d = 0; d < std::ssize(data_.documents); ++d) {
    const TokenDocument& document = data_.documents[static_cast<size_t>(d)];
    const at::Tensor log_p =
        at::log_softmax(logits(teacher, to_batch(data_, {{d, 0, std::ssize(document.tokens)}})).to(at::kDouble), 1);
    double sum = 0.0;
    int64_t count = 0;
    for (int64_t t = 1; t < std::ssize(document.tokens); ++t)
      if (document.in_loss[static_cast<size_t>(t)] != 0)
        sum -= log_p[t - 1][document.tokens[static_cast<size_t>(t)]].item<double>(), ++count;
    EXPECT_NEAR(losses[static_cast<size_t>(d)], count > 0 ? sum / static_cast<double>(count) : 0.0, 1e-5) << d;
  }
}

TEST_F(CurriculumTest, ATrainingResumesToTheSameBytes) {
  const TestFolder own("curriculum");
  const std::string folder = own / "checkpoints";
  const CausalLM teacher = CausalLM::random(tiny_config(Family::Llama), 9);
  const auto trained = [&](const DistillOptions& options, int threads, const std::string& checkpoints, bool resume,
                           const Progress& progress) {
    CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
    train(model, byte_tokenizer(),
          {.teacher = &teacher,
           .data = &data_,
           .checkpoint_directory = checkpoints,
           .resume = resume,
           .seed = 3,
           .threads = threads},
          options, progress);
    return model;
  };
  const CausalLM whole = trained(options_, 2, "", false, {});
  EXPECT_TRUE(same(whole, trained(options_, 1, "", false, {})));
  const auto stop_at = [&](int64_t tokens) {
    return
        [=](const Event& event) { return event.stage == "distill" && event.done > tokens ? Flow::Stop : Flow::GoOn; };
  };
  EXPECT_THROW(trained(options_, 2, folder, false, stop_at(500)), Error);
  EXPECT_THROW(trained(options_, 2, folder, true, stop_at(1300)), Error) << "within, then behind it";
  const auto not_again = [](const Event& event) {
    EXPECT_NE(event.stage, "curriculum") << "it is over, and the teacher reads all data";
    return Flow::GoOn;
  };
  EXPECT_TRUE(same(whole, trained(options_, 2, folder, true, not_again)));
  EXPECT_FALSE(same(whole, trained(quick(2000), 2, "", false, {})));
}

// After its reading and before the first step, or never; the bytes are those of a training that keeps it.
TEST_F(CurriculumTest, LetsTheTeacherGoWhereNoStepAsksIt) {
  const CausalLM original = CausalLM::random(tiny_config(Family::Llama), 9);
  std::string said;  // r: read, g: let go, s: a step
  const auto trained = [&](const DistillOptions& options) {
    CausalLM teacher = original.clone(), model = CausalLM::random(tiny_config(Family::Llama), 1);
    said.clear();
    train(model, byte_tokenizer(),
          {.teacher = &teacher,
           .data = &data_,
           .seed = 3,
           .on_step = [&](const TrainStep&) { said += 's'; },
           .let_teacher_go =
               [&] {
                 teacher = CausalLM();
                 said += 'g';
               }},
          options, [&](const Event& event) {
            if (event.stage == "curriculum" && !said.ends_with('r')) said += 'r';
            return Flow::GoOn;
          });
    return model;
  };
  const CausalLM student = trained(options_);
  EXPECT_EQ(said, "rg" + std::string(said.size() - std::min<size_t>(2, said.size()), 's'));
  CausalLM beside = CausalLM::random(tiny_config(Family::Llama), 1);
  train(beside, byte_tokenizer(), {.teacher = &original, .data = &data_, .seed = 3}, options_, {});
  EXPECT_TRUE(same(student, beside));
  options_.losses = {{"forward_kl", 1.0}};
  trained(options_);
  EXPECT_EQ(said, "r" + std::string(said.size() - std::min<size_t>(1, said.size()), 's')) << "each step asks it";
}

TEST_F(CurriculumTest, ATeacherWithoutALossIsSaid) {
  const OwnKernels own_kernels;
  const CausalLM student = CausalLM::random(tiny_config(Family::Llama), 1);
  CausalLM teacher = CausalLM::random(tiny_config(Family::Llama), 9);
  teacher.parameters.at(tensor_name(1, Role::Down)).fill_(std::nan(""));
  const TrainInputs inputs{.teacher = &teacher, .data = &data_, .threads = 2};
  Learner learner(student, inputs, options_, SignalSource::None);
  EXPECT_THROW(learner.teacher_losses(data_, {}), Error);
}

TEST_F(CurriculumTest, NeedsATeacher) {
  CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
  EXPECT_THROW(train(model, byte_tokenizer(), {.data = &data_}, options_, {}), Error);
}

}  // namespace
}  // namespace attar
