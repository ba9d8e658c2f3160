// Batches of several slices, by what a student may learn of them, and what it is given by one.
#pragma once

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "compress/shards.h"
#include "distill/features/feature_match.h"
#include "distill/learner.h"
#include "tests/distill/tiny_training.h"

namespace attar {

// A signal of two entries a token, but for each `every`-th token, which has none.
inline TokenDataset with_signal(TokenDataset data, int every) {
  data.signal_k = 2;
  int n = 0;
  for (TokenDocument& document : data.documents)
    for (const int32_t token : document.tokens) {
      const bool silent = ++n % every == 0;
      for (const int32_t id : {token, (token + 1) % 300}) document.signal_ids.push_back(silent ? -1 : id);
      for (const float p : {0.5f, 0.3f}) document.signal_log_probs.push_back(silent ? -HUGE_VALF : std::log(p));
    }
  return data;
}

// Each third document counts 2.5 times.
inline TokenDataset with_token_weights(TokenDataset data) {
  for (size_t d = 0; d < data.documents.size(); ++d)
    data.documents[d].weights.assign(data.documents[d].tokens.size(), d % 3 == 0 ? 2.5f : 1.0f);
  return data;
}

// Some 7,000 tokens: 300 short documents, and in their midst one that is longer than a slice.
inline TokenDataset text_of_slices() {
  TokenDataset data = countable(300);
  TokenDocument& longest = data.documents[150];
  longest.tokens.clear();
  for (int32_t i = 0; i < static_cast<int32_t>(kSliceTokens) + 100; ++i) longest.tokens.push_back(i * 7 % 300);
  longest.in_loss.assign(longest.tokens.size(), 1);
  longest.in_loss[0] = 0;
  return data;
}

struct BatchCase {
  std::string name;
  DistillOptions options;
  SignalSource source;
  TokenDataset data;
  int64_t width = 24;  // of the student; the teacher's is 24
};
inline std::vector<BatchCase> batch_cases() {
  DistillOptions plain = quick(1000), beside = plain, kept = plain, inside = plain;
  beside.losses = {{"forward_kl", 1.0}, {"cross_entropy", 0.3}}, beside.temperature = 2.0;
  kept.losses = {{"forward_kl", 1.0}}, kept.signal = "cached";
  inside.losses = {{"forward_kl", 1.0}}, inside.features = {{"hidden_mse", 0.5}, {"attention_relation", 0.3}};
  const TokenDataset data = text_of_slices();
  return {{"text", plain, SignalSource::None, data},
          {"beside the teacher", beside, SignalSource::Online, data},
          {"kept signal", kept, SignalSource::Cached, with_signal(data, 5)},
          {"weights", beside, SignalSource::Online, with_token_weights(data)},
          {"features", inside, SignalSource::Online, data, 16}};
}

// All documents of a case as one batch, a student and its teacher.
class LongBatch {
 public:
  explicit LongBatch(const BatchCase& given) : given_(given), student_(student_of(given.width)) {
    inputs_.data = &given.data, inputs_.threads = 2;
    if (given.source == SignalSource::Online) inputs_.teacher = &teacher_;
    if (asks_features(given.options)) {
      parts_[kProjections] = fitted_projections(student_, inputs_, given.options);
      inputs_.reparameterized = &parts_;
    }
    for (size_t d = 0; d < given.data.documents.size(); ++d)
      pieces_.push_back({static_cast<int64_t>(d), 0, static_cast<int64_t>(given.data.documents[d].tokens.size())});
    tokens_ = loss_tokens(given.data, pieces_, given.source);
  }
  LongBatch(const LongBatch&) = delete;
  LongBatch& operator=(const LongBatch&) = delete;

  const std::vector<Piece>& pieces() const { return pieces_; }
  const CausalLM& student() const { return student_; }
  const TrainInputs& inputs() const { return inputs_; }
  // Of these pieces, divided by the tokens of all.
  TrainingBatch batch(std::vector<Piece> pieces) const { return {&given_.data, std::move(pieces), tokens_}; }

  // What the student is given by each part alone, added up in double.
  BatchGradients sum_over(const std::vector<std::vector<Piece>>& parts) const {
    Learner learner(student_, inputs_, given_.options, given_.source);
    BatchGradients sum;
    for (const std::vector<Piece>& part : parts) {
      const BatchGradients own = learner.gradients(batch(part), 1.0);
      sum.loss += own.loss, sum.parts = own.parts;
      for (const auto& [name, gradient] : own.of) {
        const at::Tensor exact = gradient.to(at::kDouble);
        at::Tensor& all = sum.of[name];
        all = all.defined() ? all + exact : exact;
      }
    }
    return sum;
  }

 private:
  static CausalLM student_of(int64_t width) {
    ModelConfig config = tiny_config(Family::Llama);
    config.width = width;
    return CausalLM::random(config, 1);
  }

  const OwnKernels own_kernels_;
  const BatchCase& given_;
  const CausalLM teacher_ = CausalLM::random(tiny_config(Family::Llama), 9), student_;
  Reparameterizations parts_;  // projections of features
  TrainInputs inputs_;
  std::vector<Piece> pieces_;
  LossTokens tokens_;
};

// How far apart gradients lie: the largest difference of two numbers, and the length of all differences over that of
// the second gradient.
struct Apart {
  double most = 0.0, share = 0.0;
};
inline Apart apart(const BatchGradients& a, const BatchGradients& b) {
  double most = 0.0, squares = 0.0, all = 0.0;
  for (const auto& [name, gradient] : b.of) {
    const at::Tensor expected = gradient.to(at::kDouble), off = a.of.at(name).to(at::kDouble) - expected;
    most = std::max(most, off.abs().max().item<double>());
    squares += off.square().sum().item<double>();
    all += expected.square().sum().item<double>();
  }
  return {most, std::sqrt(squares / all)};
}

// As far as f32 sums of another order go: 1e-6 of a loss and of every number of a gradient, whose numbers are below 1,
// and 5e-6 of the whole gradient, of which 3e-7 were seen in small batches.
inline void expect_same_step(const BatchGradients& got, const BatchGradients& expected, const std::string& name) {
  EXPECT_NEAR(got.loss, expected.loss, 1e-6 * std::max(1.0, std::abs(expected.loss))) << name;
  ASSERT_EQ(got.of.size(), expected.of.size()) << name;
  const Apart off = apart(got, expected);
  EXPECT_LE(off.most, 1e-6) << name;
  EXPECT_LE(off.share, 5e-6) << name;
}

}  // namespace attar
