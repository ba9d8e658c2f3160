#include "compress/obs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/compress/normal_tensor.h"

namespace attar::obs {
namespace {

// X^T X + ridge of inputs that share directions and differ in loudness by up to a hundred.
at::Tensor some_hessian(int64_t in, uint64_t seed) {
  at::Tensor x = normal(3 * in, in, seed);
  x = x + at::mm(x, normal(in, in, seed + 1)) * 0.3;
  for (int64_t j = 0; j < in; ++j) x.select(1, j).mul_(std::pow(10.0, static_cast<double>(j % 3) - 1.0));
  const at::Tensor gram = at::mm(x.t(), x);
  return gram + at::diag(ridge(gram, 0.01));
}

// W = (1, 2, 3), H = [[2,1,0],[1,2,1],[0,1,2]], worked out by hand.
TEST(Obs, GoldenRow) {
  const at::Tensor hessian = at::tensor({2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0}, at::kDouble).view({3, 3});
  const at::Tensor weight = at::tensor({1.0, 2.0, 3.0}, at::kDouble).view({1, 3});
  const auto expect = [&](const std::vector<int64_t>& removed, const std::vector<double>& left) {
    const at::Tensor out = without_inputs(weight, inverted(hessian), at::tensor(removed, at::kLong));
    for (int64_t j = 0; j < 3; ++j)
      EXPECT_NEAR(out[0][j].item<double>(), left[static_cast<size_t>(j)], 1e-12) << removed.size() << " " << j;
  };
  expect({}, {1.0, 2.0, 3.0});
  expect({0}, {0.0, 8.0 / 3.0, 8.0 / 3.0});
  expect({1}, {2.0, 0.0, 4.0});
  expect({0, 2}, {0.0, 4.0, 0.0});
  // Alone they cost 4/3, 4 and 12; without the first the second costs 32/3 and the third 32/3 more: 12 and 12 in all.
  EXPECT_EQ(removal_order(weight, inverted(hessian), 1, 1), (std::vector<int64_t>{0}));
}

double error_of(const at::Tensor& change, const at::Tensor& hessian) {
  return (at::mm(change, hessian) * change).sum().item<double>();
}

// The best weight on the inputs that are not gone, each time from nothing: W H_:,K (H_KK)^-1.
at::Tensor best_reference(const at::Tensor& weight, const at::Tensor& hessian, const std::vector<int64_t>& gone) {
  std::vector<int64_t> kept;
  for (int64_t j = 0; j < hessian.size(0); ++j)
    if (std::find(gone.begin(), gone.end(), j) == gone.end()) kept.push_back(j);
  const at::Tensor k = at::tensor(kept, at::kLong), columns = hessian.index_select(1, k);
  at::Tensor out = weight.clone().zero_();
  return out.index_copy_(1, k, at::mm(at::mm(weight, columns), at::linalg_inv(columns.index_select(0, k))));
}

std::vector<int64_t> inputs_of(const std::vector<int64_t>& groups, int64_t group) {
  std::vector<int64_t> inputs;
  for (const int64_t g : groups)
    for (int64_t i = 0; i < group; ++i) inputs.push_back(g * group + i);
  return inputs;
}

std::vector<int64_t> order_reference(const at::Tensor& weight, const at::Tensor& hessian, int64_t group,
                                     int64_t count) {
  std::vector<int64_t> order;
  while (static_cast<int64_t>(order.size()) < count) {
    int64_t best = -1;
    double least = HUGE_VAL;
    for (int64_t g = 0; g < hessian.size(0) / group; ++g) {
      if (std::find(order.begin(), order.end(), g) != order.end()) continue;
      std::vector<int64_t> gone = order;
      gone.push_back(g);
      const double error = error_of(best_reference(weight, hessian, inputs_of(gone, group)) - weight, hessian);
      if (error < least) least = error, best = g;
    }
    order.push_back(best);
  }
  return order;
}

TEST(Obs, DowndatesChooseAsSolvingFromNothingDoes) {
  for (const auto& [in, group, count] :
       {std::tuple(24, 1, 17), std::tuple(30, 5, 5), std::tuple(12, 4, 3), std::tuple(9, 9, 1)})
    for (const uint64_t seed : {1u, 20u, 300u}) {
      const at::Tensor hessian = some_hessian(in, seed), weight = normal(7, in, seed + 5);
      const std::vector<int64_t> order = removal_order(weight, inverted(hessian), group, count);
      EXPECT_EQ(order, order_reference(weight, hessian, group, count)) << in << " " << group << " " << seed;
      const std::vector<int64_t> gone = inputs_of(order, group);
      const at::Tensor left = without_inputs(weight, inverted(hessian), at::tensor(gone, at::kLong)),
                       expected = best_reference(weight, hessian, gone);
      EXPECT_LE((left - expected).abs().max().item<double>(), 1e-9 * (1.0 + expected.abs().max().item<double>()));
    }
}

// Loudness is a matter of units: an input a thousand times louder whose weights are a thousand times smaller is the
// same input. (A share of the mean diagonal would drown all others.)
TEST(Obs, UnitsOfAnInputChangeNothing) {
  const at::Tensor x = normal(60, 20, 4), weight = normal(5, 20, 5);
  at::Tensor scale = at::tensor(std::vector<double>(20, 1.0), at::kDouble);
  scale[3] = 1000.0, scale[11] = 1e-3;
  const auto cut = [&](const at::Tensor& inputs, const at::Tensor& own) {
    const at::Tensor gram = at::mm(inputs.t(), inputs), inv = inverted(gram + at::diag(ridge(gram, 0.05)));
    const std::vector<int64_t> order = removal_order(own, inv, 1, 8);
    return std::pair(order, without_inputs(own, inv, at::tensor(order, at::kLong)));
  };
  const auto [order, left] = cut(x, weight);
  const auto [scaled_order, scaled_left] = cut(x * scale, weight / scale);
  EXPECT_EQ(order, scaled_order);
  EXPECT_LE((left - scaled_left * scale).abs().max().item<double>(), 1e-9);
}

// Inputs that the text never uses leave first, and at no cost.
TEST(Obs, UnusedInputsGoFirst) {
  at::Tensor x = normal(40, 6, 8);
  x.select(1, 2).zero_(), x.select(1, 4).zero_();
  const at::Tensor gram = at::mm(x.t(), x), inv = inverted(gram + at::diag(ridge(gram, 0.01)));
  EXPECT_EQ(removal_order(at::tensor({1.0, 1.0, 9.0, 1.0, 8.0, 1.0}, at::kDouble).view({1, 6}), inv, 1, 2),
            (std::vector<int64_t>{4, 2}));
  const at::Tensor nothing = at::mm(x.t(), x) * 0.0;
  EXPECT_GT(ridge(nothing, 0.01).min().item<double>(), 0.0);
}

}  // namespace
}  // namespace attar::obs
