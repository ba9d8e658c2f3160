// position_share: losses on the tokens where the student is least sure (SE-KD, arXiv 2602.01395).
#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "compress/shards.h"
#include "distill/learner.h"
#include "distill/losses/row_sweeps.h"
#include "tests/distill/tiny_training.h"

namespace attar {
namespace {

// (N) f64, of logits (N, V)
at::Tensor entropies_by_definition(const at::Tensor& logits) {
  const at::Tensor log_p = at::log_softmax(logits.to(at::kDouble), 1);
  return -(log_p.exp() * log_p).sum(1);
}

TEST(RowEntropy, EqualsItsDefinition) {
  for (const int64_t n : {1, 2, 17, 257, 49152}) {
    for (const double scale : {0.0, 0.01, 1.0, 30.0, 1000.0}) {  // flat to sharp
      const at::Tensor row = at::randn({1, n}) * scale;
      const double expected = entropies_by_definition(row).item<double>();
      EXPECT_NEAR(row_entropy(row.const_data_ptr<float>(), n), expected, 1e-5 + 1e-5 * expected) << n << " " << scale;
    }
  }
}

class PositionShareTest : public testing::Test {
 protected:
  PositionShareTest() {
    for (size_t d = 0; d < data_.documents.size(); ++d)
      batch_.pieces.push_back({static_cast<int64_t>(d), 0, static_cast<int64_t>(data_.documents[d].tokens.size())});
    batch_.tokens = loss_tokens(data_, batch_.pieces, SignalSource::None);
  }
  // `data` with only those tokens in the loss of which the student is least sure, by its whole logits in double.
  TokenDataset unsure(double share) const {
    const at::Tensor h = entropies_by_definition(logits(student_, to_batch(data_, batch_.pieces)));
    std::vector<std::pair<double, std::pair<size_t, size_t>>> tokens;  // less the entropy; document and token
    int64_t row = 0;
    for (size_t d = 0; d < data_.documents.size(); ++d)
      for (size_t t = 0; t < data_.documents[d].tokens.size(); ++t, ++row)
        if (t + 1 < data_.documents[d].tokens.size() && data_.documents[d].in_loss[t + 1] != 0)
          tokens.push_back({-h[row].item<double>(), {d, t + 1}});
    std::sort(tokens.begin(), tokens.end());
    TokenDataset out = data_;
    for (TokenDocument& document : out.documents) std::fill(document.in_loss.begin(), document.in_loss.end(), 0);
    const auto count = static_cast<size_t>(std::ceil(share * static_cast<double>(tokens.size())));
    for (size_t i = 0; i < count; ++i) out.documents[tokens[i].second.first].in_loss[tokens[i].second.second] = 1;
    return out;
  }
  BatchGradients gradients(const TokenDataset& data, double share, int threads = 2) {
    DistillOptions options = quick(1000);
    options.losses = {{"forward_kl", 1.0}, {"cross_entropy", 0.3}};
    options.position_share = share;
    const TrainInputs inputs{.teacher = &teacher_, .data = &data, .threads = threads};
    Learner learner(student_, inputs, options, SignalSource::Online);
    const TrainingBatch batch{&data, batch_.pieces, loss_tokens(data, batch_.pieces, SignalSource::None)};
    BatchGradients out = learner.gradients(batch, 0.0);
    for (auto& [name, gradient] : out.of) gradient = gradient.clone();
    return out;
  }
  static bool equal(const BatchGradients& a, const BatchGradients& b) {
    return a.loss == b.loss && std::all_of(a.of.begin(), a.of.end(), [&](const auto& entry) {
             return at::equal(entry.second, b.of.at(entry.first));
           });
  }

  const OwnKernels own_kernels_;
  const CausalLM student_ = CausalLM::random(tiny_config(Family::Llama), 1),
                 teacher_ = CausalLM::random(tiny_config(Family::Llama), 9);
  const TokenDataset data_ = countable(40);
  TrainingBatch batch_{&data_, {}, {}};
};

TEST_F(PositionShareTest, IsAStepOnThoseTokensAlone) {
  for (const double share : {0.001, 0.25, 0.8}) {
    const TokenDataset chosen = unsure(share);
    const BatchGradients by_share = gradients(data_, share);
    EXPECT_TRUE(equal(by_share, gradients(chosen, 1.0))) << share;
    EXPECT_FALSE(equal(by_share, gradients(data_, 1.0))) << share;
  }
}

TEST_F(PositionShareTest, ThreadsChangeNoBit) {
  EXPECT_TRUE(equal(gradients(data_, 0.3, 1), gradients(data_, 0.3, 2)));
}

}  // namespace
}  // namespace attar
