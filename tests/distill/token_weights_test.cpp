// Weights of tokens: how much predicting each counts.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "compress/shards.h"
#include "distill/learner.h"
#include "distill/signal_source.h"
#include "runtime/base/error.h"
#include "tests/distill/tiny_training.h"

namespace attar {
namespace {

class TokenWeightsTest : public testing::Test {
 protected:
  // With a weight for each token by its document and place.
  static TokenDataset weighed(TokenDataset data, const std::function<float(size_t, size_t)>& weight) {
    for (size_t d = 0; d < data.documents.size(); ++d) {
      TokenDocument& document = data.documents[d];
      for (size_t t = 0; t < document.tokens.size(); ++t)
        document.weights.push_back(document.in_loss[t] != 0 ? weight(d, t) : 0.0f);
    }
    return data;
  }
  BatchGradients gradients(const TokenDataset& data, int threads = 2) const {
    DistillOptions options = quick(1000);
    options.losses = {{"forward_kl", 1.0}, {"cross_entropy", 0.3}};
    const TrainInputs inputs{.teacher = &teacher_, .data = &data, .threads = threads};
    Learner learner(student_, inputs, options, SignalSource::Online);
    TrainingBatch batch{&data, {}, {}};
    for (int64_t d = 0; d < std::ssize(data.documents); ++d)
      batch.pieces.push_back({d, 0, std::ssize(data.documents[static_cast<size_t>(d)].tokens)});
    batch.tokens = loss_tokens(data, batch.pieces, SignalSource::None);
    BatchGradients out = learner.gradients(batch, 0.0);
    for (auto& [name, gradient] : out.of) gradient = gradient.clone();
    return out;
  }
  // The largest difference of their gradients.
  static double apart(const BatchGradients& a, const BatchGradients& b) {
    double most = 0.0;
    for (const auto& [name, gradient] : a.of)
      most = std::max(most, (gradient - b.of.at(name)).abs().max().item<double>());
    return most;
  }

  const OwnKernels own_kernels_;
  const CausalLM student_ = CausalLM::random(tiny_config(Family::Llama), 1),
                 teacher_ = CausalLM::random(tiny_config(Family::Llama), 9);
  const TokenDataset data_ = countable(20);
};

TEST_F(TokenWeightsTest, AllAlikeChangeNothing) {
  const BatchGradients plain = gradients(data_);
  for (const float weight : {1.0f, 2.0f, 0.25f}) {  // powers of two: to the bit
    const BatchGradients alike = gradients(weighed(data_, [&](size_t, size_t) { return weight; }));
    EXPECT_EQ(alike.loss, plain.loss) << weight;
    EXPECT_EQ(apart(alike, plain), 0.0) << weight;
  }
}

TEST_F(TokenWeightsTest, OneOfZeroIsOutOfTheLoss) {
  const auto odd = [](size_t d, size_t t) { return (d + t) % 2 == 0 ? 1.0f : 0.0f; };
  TokenDataset masked = data_;
  for (size_t d = 0; d < masked.documents.size(); ++d)
    for (size_t t = 1; t < masked.documents[d].tokens.size(); ++t)
      masked.documents[d].in_loss[t] = odd(d, t) != 0.0f ? 1 : 0;
  const BatchGradients by_weight = gradients(weighed(data_, odd)), by_mask = gradients(masked);
  EXPECT_NEAR(by_weight.loss, by_mask.loss, 1e-9);
  EXPECT_LT(apart(by_weight, by_mask), 1e-7);
}

// A document of weight 3 is one that is there three times.
TEST_F(TokenWeightsTest, WeighAsCopiesDo) {
  TokenDataset copies = data_;
  for (size_t d = 0; d < data_.documents.size(); d += 3)
    copies.documents.insert(copies.documents.end(), 2, data_.documents[d]);
  const BatchGradients by_weight = gradients(weighed(data_, [](size_t d, size_t) { return d % 3 == 0 ? 3.0f : 1.0f; })),
                       by_copies = gradients(copies), plain = gradients(data_);
  EXPECT_NEAR(by_weight.loss, by_copies.loss, 1e-6);
  EXPECT_LT(apart(by_weight, by_copies), 1e-6);
  EXPECT_GT(apart(by_weight, plain), 1e-4);
}

TEST_F(TokenWeightsTest, ThreadsChangeNoBit) {
  const TokenDataset data = weighed(data_, [](size_t d, size_t t) { return 0.3f * static_cast<float>((d + t) % 5); });
  EXPECT_EQ(apart(gradients(data, 1), gradients(data, 2)), 0.0);
}

TEST_F(TokenWeightsTest, GoThroughATraining) {
  const auto trained = [&](const TokenDataset& data, DistillOptions options) {
    CausalLM model = CausalLM::random(tiny_config(Family::Llama), 1);
    train(model, byte_tokenizer(), {.data = &data, .seed = 3, .threads = 2}, options, {});
    return model;
  };
  const TokenDataset twice = weighed(data_, [](size_t, size_t) { return 2.0f; }),
                     some = weighed(data_, [](size_t d, size_t) { return d % 2 == 0 ? 1.0f : 0.125f; });
  DistillOptions options = quick(800);
  EXPECT_TRUE(same(trained(data_, options), trained(twice, options)));
  EXPECT_FALSE(same(trained(data_, options), trained(some, options)));
  options.sequence_tokens = 8, options.held_out_tokens = 40;  // cut, and held out
  EXPECT_TRUE(same(trained(data_, options), trained(twice, options)));
  EXPECT_FALSE(same(trained(data_, options), trained(some, options)));
  options = quick(800);
  options.position_share = 0.5;
  EXPECT_THROW(trained(twice, options), Error) << "both choose tokens";
}

TEST_F(TokenWeightsTest, AreNotForFeatures) {
  const TokenDataset twice = weighed(data_, [](size_t, size_t) { return 2.0f; });
  DistillOptions options = quick(800);
  options.features = {{"hidden_mse", 1.0}};
  const auto source = [&](const TokenDataset& data) {
    return signal_source({.teacher = &teacher_, .data = &data}, options);
  };
  EXPECT_NO_THROW(source(data_));
  EXPECT_THROW(source(twice), Error);
}

}  // namespace
}  // namespace attar
