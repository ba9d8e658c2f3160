#include "quantize/correction.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/mm.h>
#include <gtest/gtest.h>

#include "tests/compress/normal_tensor.h"

namespace attar {
namespace {

constexpr int64_t kIn = 48, kOut = 20, kTokens = 4000;

// Inputs that have drifted: those of the model as it was, mixed a little among themselves, with noise.
struct Drifted {
  at::Tensor whole, inputs, owed;  // (N, in), (N, in), (N, out)

  explicit Drifted(uint64_t seed)
      : whole(at::mm(normal(kTokens, 12, seed), normal(12, kIn, 1)) + normal(kTokens, kIn, seed + 1)),
        inputs(whole + 0.1 * at::mm(whole, normal(kIn, kIn, 2)) / 7.0 + 0.05 * normal(kTokens, kIn, seed + 2)),
        owed(0.3 * at::mm(whole, normal(kIn, kOut, 3)) / 7.0) {}
  LinearStats stats() const {
    LinearStats out{.tokens = kTokens, .sum_squares = {}, .gram = at::mm(inputs.t(), inputs), .target = {}};
    out.input_drift = at::mm((whole - inputs).t(), inputs);
    out.stream_drift = at::mm(owed.t(), inputs);
    return out;
  }
  // How far the linear and the stream together are from the model as it was.
  double error(const at::Tensor& weights, const at::Tensor& original) const {
    return (at::mm(whole, original.t()) + owed - at::mm(inputs, weights.to(at::kDouble).t()))
        .square()
        .sum()
        .item<double>();
  }
};

TEST(Correction, IsWhatItsDefinitionSays) {
  const LinearStats stats = Drifted(5).stats();
  const at::Tensor weights = normal(kOut, kIn, 9);
  at::Tensor damped = stats.gram.clone();
  damped.diagonal().mul_(1.5);
  const at::Tensor by = at::mm(weights, stats.input_drift) + stats.stream_drift,
                   expected = weights + 0.5 * at::mm(by, at::linalg_inv(damped));
  const Correction correction = correction_of(stats, 2);
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, kOut}, {7, 5}}) {
    at::Tensor rows = weights.narrow(0, first, count).to(at::kFloat).contiguous();
    correction.add_to(rows, first);
    EXPECT_LT((rows - expected.narrow(0, first, count)).abs().max().item<double>(), 1e-5);
  }
}

TEST(Correction, TakesBackWhatOtherTextHasLost) {
  const Drifted text(5), other(55);
  const at::Tensor weights = normal(kOut, kIn, 9);
  at::Tensor corrected = weights.to(at::kFloat).contiguous();
  correction_of(text.stats(), 1).add_to(corrected, 0);
  EXPECT_LT(other.error(corrected, weights), 0.5 * other.error(weights, weights));
}

TEST(Correction, WithoutDriftIsNothing) {
  LinearStats stats = Drifted(5).stats();
  stats.input_drift = stats.stream_drift = at::Tensor();
  const at::Tensor weights = normal(kOut, kIn, 9).to(at::kFloat), rows = weights.clone();
  correction_of(stats, 1).add_to(rows, 0);
  EXPECT_TRUE(rows.equal(weights));
}

}  // namespace
}  // namespace attar
