// A student beside a teacher with another tokenizer: the step's gradient, and whole trainings.
#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "distill/alignment/aligned_dataset.h"
#include "distill/head_loss.h"
#include "distill/learner.h"
#include "distill/signal_source.h"
#include "runtime/base/error.h"
#include "tests/compress/normal_tensor.h"
#include "tests/distill/tiny_training.h"
#include "tests/formats/tiny_tokenizers.h"
#include "tests/test_folder.h"

namespace attar {
namespace {

Tokenizer byte_reader() {
  return Tokenizer(byte_level({}));
}
Tokenizer piece_reader() {
  return Tokenizer(sentence_pieces({" ", "a", "n", "s", "o", " t", " th", " the", "an", "ran", " c", " ca", " cat"}));
}

// Texts of few words in an order that can be learned.
std::vector<Document> short_stories(int count) {
  static const char* kWords[] = {" the", " cat", " ran", " and", " then", " sat", " on", " a", " mat"};
  const CounterRandom random(2);
  std::vector<Document> documents;
  for (int d = 0; d < count; ++d) {
    std::string text = "It";
    const auto first = random.below(static_cast<uint64_t>(d), std::size(kWords));
    for (size_t w = 0; w < 3 + static_cast<size_t>(d) % 7; ++w) text += kWords[(first + w) % std::size(kWords)];
    documents.push_back({.text = text, .messages = {}});
  }
  return documents;
}

CausalLM model_of(Family family, const Tokenizer& tokenizer, uint64_t seed) {
  ModelConfig config = tiny_config(family);
  config.vocab_size = tokenizer.vocab_size();
  return CausalLM::random(config, seed);
}

class AlignedTrainingTest : public testing::Test {
 protected:
  CausalLM trained(const DistillOptions& options, int threads = 2, const std::string& folder = {}, bool resume = false,
                   const Progress& progress = {}) {
    CausalLM student = model_of(Family::Llama, byte_reader(), 1);
    const TrainInputs inputs{.teacher = &teacher_,
                             .student_to_teacher = {},
                             .data = &aligned_.data,
                             .checkpoint_directory = folder,
                             .resume = resume,
                             .seed = 3,
                             .threads = threads};
    result_ = train(student, byte_level({}), inputs, options, progress);
    return student;
  }
  static DistillOptions by(const std::map<std::string, double>& losses, int64_t tokens = 600) {
    DistillOptions options = quick(tokens);
    options.losses = losses;
    options.sequence_tokens = 48;
    return options;
  }
  const CausalLM teacher_ = model_of(Family::Qwen3, piece_reader(), 5);
  const AlignedData aligned_ =
      aligned_data(tokenize_documents(short_stories(40), piece_reader()), piece_reader(), byte_reader(), 48);
  const TestFolder own_{"aligned"};
  TrainResult result_;
};

TEST_F(AlignedTrainingTest, BothLossesFall) {
  for (const char* loss : {"aligned_likelihood", "uld"}) {
    trained(by({{loss, 1.0}}, 8000));
    EXPECT_LT(result_.history.back().loss, 0.8 * result_.history.front().loss) << loss;
    EXPECT_FALSE(result_.history[0].agreement) << "their likeliest tokens do not compare";
  }
}

TEST_F(AlignedTrainingTest, ThreadsAndAResumeChangeNoBit) {
  DistillOptions options = by({{"aligned_likelihood", 0.7}, {"uld", 0.2}, {"cross_entropy", 0.1}}, 1500);
  options.held_out_tokens = 100, options.held_out_every_steps = 3;
  const CausalLM whole = trained(options, 2);
  EXPECT_TRUE(same(whole, trained(options, 1)));
  EXPECT_TRUE(same(whole, trained(options, 3)));
  EXPECT_TRUE(result_.history.back().held_out);
  const std::string folder = own_ / "steps";
  EXPECT_THROW(
      trained(options, 2, folder, false, [](const Event& event) { return event.done > 700 ? Flow::Stop : Flow::GoOn; }),
      Error);
  EXPECT_TRUE(same(whole, trained(options, 2, folder, true)));
}

// The loss of one step from the definitions: log-softmax over all logits in double, chunks summed one by one.
TEST_F(AlignedTrainingTest, TheLossIsItsDefinition) {
  const CausalLM student = model_of(Family::Llama, byte_reader(), 1);
  const DistillOptions options = by({{"aligned_likelihood", 1.0}});
  const TrainInputs inputs{
      .teacher = &teacher_, .student_to_teacher = {}, .data = &aligned_.data, .checkpoint_directory = {}, .threads = 2};
  Learner learner(student, inputs, options, SignalSource::Aligned);
  std::vector<Piece> pieces;
  for (int64_t d = 0; d < 9; ++d)
    pieces.push_back({d, 0, static_cast<int64_t>(aligned_.data.documents[static_cast<size_t>(d)].tokens.size())});
  const TrainingBatch batch{&aligned_.data, pieces, loss_tokens(aligned_.data, pieces, SignalSource::Aligned)};
  const BatchGradients got = learner.gradients(batch, 1.0);
  const at::Tensor q = at::log_softmax(logits(student, to_batch(aligned_.data, pieces)).to(at::kDouble), 1);
  const AlignedRows rows = aligned_rows(aligned_.data, pieces);
  const at::Tensor p = at::log_softmax(logits(teacher_, rows.other).to(at::kDouble), 1);
  const Labels labels = labels_of(aligned_.data, pieces, SignalSource::Aligned);
  double expected = 0.0;
  ASSERT_GT(rows.chunks.size(), 50u);
  for (const ChunkRows& chunk : rows.chunks) {
    double log_q = 0.0, log_p = 0.0;
    for (int64_t r = chunk.begin; r < chunk.end; ++r) log_q += q[r][labels.next[r].item<int64_t>()].item<double>();
    for (int64_t r = chunk.other_begin; r < chunk.other_end; ++r)
      log_p += p[r][rows.next[r].item<int64_t>()].item<double>();
    const double a = std::exp(log_p / 100.0), b = std::exp(log_q / 100.0);
    expected += 100.0 * (a * std::log(a / b) + (1 - a) * std::log((1 - a) / (1 - b)));
  }
  EXPECT_NEAR(got.loss, expected / static_cast<double>(batch.tokens.count), 2e-5 * got.loss);
  EXPECT_NEAR(got.parts.at("aligned_likelihood"), got.loss, 1e-12);
  // A batch is the mean of its documents, weighed by their tokens.
  double of_each = 0.0;
  for (const Piece& piece : pieces) {
    const TrainingBatch one{&aligned_.data, {piece}, loss_tokens(aligned_.data, {piece}, SignalSource::Aligned)};
    of_each += learner.gradients(one, 1.0).loss * static_cast<double>(one.tokens.count);
  }
  EXPECT_NEAR(got.loss, of_each / static_cast<double>(batch.tokens.count), 1e-5 * got.loss);
}

// The gradient by hidden states and head against differences of the value, for both losses beside the text.
TEST_F(AlignedTrainingTest, GradientsOfTheHeadAreDifferences) {
  constexpr int64_t kRows = 9, kWidth = 6;
  const auto drawn = [](int64_t rows, int64_t columns, uint64_t seed) {
    return normal(rows, columns, seed).to(at::kFloat);
  };
  const at::Tensor hidden = drawn(kRows, kWidth, 1), head = drawn(21, kWidth, 2), its = drawn(7, 5, 3),
                   its_head = drawn(33, 5, 4);
  std::vector<int64_t> own_next, other_next;
  for (int64_t i = 0; i < kRows; ++i) own_next.push_back((i * 5) % 21);
  for (int64_t i = 0; i < 7; ++i) other_next.push_back((i * 11) % 33);
  const at::Tensor next = at::tensor(own_next, at::kLong), next_of_other = at::tensor(other_next, at::kLong);
  const std::vector<ChunkRows> chunks{{0, 1, 0, 2}, {1, 4, 2, 3}, {5, 7, 3, 5}, {7, 8, 6, 7}};
  const at::Tensor in_loss = at::ones({kRows}, at::kBool), all = at::ones({7}, at::kBool);
  Team team(2);
  HeadLossMemory memory, other_memory;
  const HeadLossOptions options{.losses =
                                    loss_terms({{"aligned_likelihood", 0.8}, {"uld", 0.5}, {"cross_entropy", 0.1}},
                                               {{"aligned_likelihood_temperature", 3.0}}, 1.5, 1.0)};
  const auto taught = [&](const at::Tensor& x, at::Tensor& by_head) {
    AlignedSignal signal;
    signal.chunks = chunk_losses(chunks, next_log_probs(x, head, next, in_loss, options, team, memory),
                                 next_log_probs(its, its_head, next_of_other, all, options, team, other_memory), 3.0);
    const SamePlaces places = at_same_places(chunks, its, kRows);
    signal.teacher = {places.rows, its_head};
    signal.known = places.known;
    return head_loss(x, head, next, in_loss, signal, options, 4.0, by_head, team, memory);
  };
  at::Tensor by_head = at::zeros({21, kWidth}), none;
  const HeadLossResult got = taught(hidden, by_head);
  EXPECT_EQ(got.asked, 0);
  EXPECT_GT(by_head.abs().sum().item<float>(), 0.1f);
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t c = 0; c < kWidth; ++c) {
      at::Tensor up = hidden.clone(), down = hidden.clone();
      up[r][c] += 0.002f, down[r][c] -= 0.002f;  // few ranks change within so little
      const double step = (up[r][c] - down[r][c]).item<double>();
      const double difference = (taught(up, none).loss - taught(down, none).loss) / step;
      EXPECT_NEAR(got.hidden_gradient[r][c].item<double>(), difference, 2e-4 + 2e-3 * std::abs(difference))
          << r << " " << c;
    }
}

std::string refusal_of(const std::function<void()>& work) {
  try {
    work();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST_F(AlignedTrainingTest, RefusesDataThatOneTokenizerHasRead) {
  const TokenDataset plain = tokenize_documents(short_stories(5), byte_reader());
  CausalLM student = model_of(Family::Llama, byte_reader(), 1);
  TrainInputs inputs{.teacher = &teacher_, .student_to_teacher = {}, .data = &plain, .checkpoint_directory = {}};
  const DistillOptions options = by({{"uld", 1.0}});
  EXPECT_NE(refusal_of([&] { train(student, byte_level({}), inputs, options); }).find("two readings"),
            std::string::npos);
  inputs.data = &aligned_.data, inputs.teacher = nullptr;
  EXPECT_NE(refusal_of([&] { train(student, byte_level({}), inputs, options); }).find("need a teacher"),
            std::string::npos);
  inputs.teacher = &teacher_;
  DistillOptions shorter = options;
  shorter.sequence_tokens = 10;
  EXPECT_NE(refusal_of([&] { train(student, byte_level({}), inputs, shorter); }).find("two readings"),
            std::string::npos);
}

TEST(NeedsSameTokens, NamesWhatATeacherOfOtherTokensCannotGive) {
  DistillOptions options;
  EXPECT_EQ(needs_same_tokens(options), "losses.forward_kl");
  options.losses = {{"aligned_likelihood", 1.0}, {"cross_entropy", 0.5}, {"reverse_kl", 0.0}};
  EXPECT_EQ(needs_same_tokens(options), "");
  EXPECT_TRUE(asks_alignment(options));
  options.on_policy = 0.5;
  EXPECT_EQ(needs_same_tokens(options), "on_policy");
  options.features = {{"hidden_mse", 1.0}};
  EXPECT_EQ(needs_same_tokens(options), "features");
  options = {};
  options.losses = {{"cross_entropy", 1.0}};
  EXPECT_EQ(needs_same_tokens(options), "");
  EXPECT_FALSE(asks_alignment(options));
}

}  // namespace
}  // namespace attar
