#include "distill/head_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

namespace attar {
namespace {

constexpr int64_t kRows = 11, kWidth = 7, kTeacherWidth = 5, kVocab = 37;  // odd, so that chunks of 4 leave a rest

at::Tensor wave(int64_t rows, int64_t columns, double pace) {
  return at::arange(rows * columns, at::kFloat).mul(pace).sin().mul(1.5).view({rows, columns});
}

Team two_threads(2);
HeadLossMemory memory;

struct Case {
  at::Tensor hidden = wave(kRows, kWidth, 0.7), head = wave(kVocab, kWidth, 1.3);
  DenseSignal teacher{wave(kRows, kTeacherWidth, 0.9), wave(kVocab, kTeacherWidth, 2.1)};
  at::Tensor next = at::arange(kRows, at::kLong).mul(5).remainder(kVocab);
  at::Tensor in_loss = at::full({kRows}, true, at::kBool);
  at::Tensor weights = at::ones({kRows}, at::kFloat);
  Case() {
    in_loss[2] = false;
    in_loss[9] = false;
  }
};

std::vector<LossTerm> forward_kl() {
  return loss_terms({{"forward_kl", 1.0}}, {}, 1.0, 1.0);
}

struct Expected {
  double loss;
  at::Tensor hidden_gradient, head_gradient;
};

// The same loss in double, by autograd over all logits at once.
Expected by_autograd(const Case& c, double kl_weight, double ce_weight, double t, double denominator) {
  const c10::AutoGradMode grad(true);
  const at::Tensor hidden = c.hidden.to(at::kDouble).set_requires_grad(true),
                   head = c.head.to(at::kDouble).set_requires_grad(true);
  const at::Tensor z = at::mm(hidden, head.t()), y = at::mm(c.teacher.hidden, c.teacher.head.t()).to(at::kDouble);
  const at::Tensor log_p = at::log_softmax(y / t, 1), log_q = at::log_softmax(z / t, 1);
  const at::Tensor kl = (log_p.exp() * (log_p - log_q)).sum(1) * (t * t);
  const at::Tensor ce = -at::log_softmax(z, 1).gather(1, c.next.unsqueeze(1)).squeeze(1);
  const at::Tensor counts = c.in_loss.to(at::kDouble) * c.weights.to(at::kDouble);
  const at::Tensor loss = ((kl * kl_weight + ce * ce_weight) * counts).sum() / denominator;
  loss.backward();
  return {loss.item<double>(), hidden.grad(), head.grad()};
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b).abs().max().item<double>();
}

TEST(HeadLoss, CountsEachRowByItsWeight) {
  Case c;
  c.weights = at::arange(kRows, at::kFloat).mul(0.7).remainder(2.0);
  c.weights[4] = 0.0;
  const HeadLossOptions options{.losses = loss_terms({{"forward_kl", 0.7}, {"cross_entropy", 0.3}}, {}, 1.0, 1.0),
                                .chunk_rows = 4,
                                .weights = c.weights};
  at::Tensor head_gradient = at::zeros_like(c.head);
  const HeadLossResult got =
      head_loss(c.hidden, c.head, c.next, c.in_loss, c.teacher, options, 5.0, head_gradient, two_threads, memory);
  const Expected expected = by_autograd(c, 0.7, 0.3, 1.0, 5.0);
  EXPECT_NEAR(got.loss, expected.loss, 2e-6);
  EXPECT_LT(largest_difference(got.hidden_gradient, expected.hidden_gradient), 2e-6);
  EXPECT_LT(largest_difference(head_gradient, expected.head_gradient), 2e-6);
}

// 2e-6: products and sums of f32 over 37 tokens and 9 rows, gradients below 1.
TEST(HeadLoss, EqualsAutogradOverAllLogits) {
  const Case c;
  for (const double t : {1.0, 2.0}) {
    const HeadLossOptions options{.losses = loss_terms({{"forward_kl", 0.7}, {"cross_entropy", 0.3}}, {}, t, 1.0),
                                  .chunk_rows = 4};
    at::Tensor head_gradient = at::zeros_like(c.head);
    const HeadLossResult got =
        head_loss(c.hidden, c.head, c.next, c.in_loss, c.teacher, options, 9.0, head_gradient, two_threads, memory);
    const Expected expected = by_autograd(c, 0.7, 0.3, t, 9.0);
    EXPECT_NEAR(got.loss, expected.loss, 2e-6);
    EXPECT_NEAR(9.0 * got.loss, 0.7 * got.sums.at("forward_kl") + 0.3 * got.sums.at("cross_entropy"), 1e-11);
    EXPECT_EQ(got.rows, 9);
    EXPECT_LT(largest_difference(got.hidden_gradient, expected.hidden_gradient), 2e-6);
    EXPECT_LT(largest_difference(head_gradient, expected.head_gradient), 2e-6);
  }
}

TEST(HeadLoss, ChunksChangeOnlyRounding) {
  const Case c;
  HeadLossOptions options{.losses = forward_kl()};
  at::Tensor whole = at::zeros_like(c.head), chunked = at::zeros_like(c.head);
  options.chunk_rows = 256;
  const HeadLossResult a =
      head_loss(c.hidden, c.head, c.next, c.in_loss, c.teacher, options, 9.0, whole, two_threads, memory);
  options.chunk_rows = 1;
  const HeadLossResult b =
      head_loss(c.hidden, c.head, c.next, c.in_loss, c.teacher, options, 9.0, chunked, two_threads, memory);
  EXPECT_NEAR(a.loss, b.loss, 1e-6);
  EXPECT_LT(largest_difference(whole, chunked.to(at::kDouble)), 1e-6);
}

TEST(HeadLoss, MaskedRowsGetNothingAndTheHeadsGradientIsAddedTo) {
  const Case c;
  at::Tensor none, once = at::zeros_like(c.head), twice = at::zeros_like(c.head);
  const HeadLossOptions options{.losses = forward_kl()};
  const HeadLossResult got =
      head_loss(c.hidden, c.head, c.next, c.in_loss, c.teacher, options, 9.0, none, two_threads, memory);
  EXPECT_FALSE(none.defined());
  EXPECT_EQ(got.hidden_gradient[2].abs().max().item<float>(), 0.0f);
  EXPECT_EQ(got.hidden_gradient[9].abs().max().item<float>(), 0.0f);
  EXPECT_GT(got.hidden_gradient[3].abs().max().item<float>(), 0.0f);
  head_loss(c.hidden, c.head, c.next, c.in_loss, c.teacher, options, 9.0, once, two_threads, memory);
  for (int i = 0; i < 2; ++i)
    head_loss(c.hidden, c.head, c.next, c.in_loss, c.teacher, options, 9.0, twice, two_threads, memory);
  EXPECT_LT(largest_difference(twice, once.to(at::kDouble) * 2.0), 1e-6);
}

// With every token kept there is no tail: the sparse signal is the dense one.
TEST(HeadLoss, ACacheOfAllTokensIsTheDenseTeacher) {
  const Case c;
  const HeadLossOptions options{.losses = forward_kl()};
  const auto [log_probs, ids] = at::topk(at::log_softmax(at::mm(c.teacher.hidden, c.teacher.head.t()), 1), kVocab, 1);
  at::Tensor dense = at::zeros_like(c.head), sparse = at::zeros_like(c.head);
  const HeadLossResult a =
      head_loss(c.hidden, c.head, c.next, c.in_loss, c.teacher, options, 9.0, dense, two_threads, memory);
  const HeadLossResult b = head_loss(c.hidden, c.head, c.next, c.in_loss, TopKSignal{ids, log_probs}, options, 9.0,
                                     sparse, two_threads, memory);
  EXPECT_NEAR(a.loss, b.loss, 2e-6);
  EXPECT_LT(largest_difference(dense, sparse.to(at::kDouble)), 2e-6);
}

// Rows 0 to 4 of the teacher are the student's own, the others say what the student does not; rows 2 and 9 are masked.
TEST(HeadLoss, CountsWhereTheLikeliestTokenIsTheTeachers) {
  Case c;
  c.teacher = {c.hidden.clone(), c.head};
  c.teacher.hidden.narrow(0, 5, 6).neg_();
  at::Tensor none;
  const HeadLossOptions options{.losses = forward_kl(), .chunk_rows = 4};
  const HeadLossResult dense =
      head_loss(c.hidden, c.head, c.next, c.in_loss, c.teacher, options, 9.0, none, two_threads, memory);
  EXPECT_EQ(dense.asked, 9);
  EXPECT_EQ(dense.agreeing, 4);
  auto [log_probs, ids] = at::topk(at::log_softmax(at::mm(c.teacher.hidden, c.head.t()), 1), 3, 1);
  ids[1][0] = -1;  // the teacher's likeliest is a token that the student has not
  ids[7].fill_(-1);
  const HeadLossResult sparse = head_loss(c.hidden, c.head, c.next, c.in_loss, TopKSignal{ids, log_probs}, options, 9.0,
                                          none, two_threads, memory);
  EXPECT_EQ(sparse.asked, 7);
  EXPECT_EQ(sparse.agreeing, 3);
  const HeadLossResult text =
      head_loss(c.hidden, c.head, c.next, c.in_loss, {}, {.losses = loss_terms({{"cross_entropy", 1.0}}, {}, 1.0, 1.0)},
                9.0, none, two_threads, memory);
  EXPECT_EQ(text.asked, 0);
}

TEST(HeadLoss, NoRowInTheLossIsNoLoss) {
  Case c;
  c.in_loss = at::zeros({kRows}, at::kBool);
  at::Tensor head_gradient = at::zeros_like(c.head);
  const HeadLossResult got = head_loss(c.hidden, c.head, c.next, c.in_loss, c.teacher, {.losses = forward_kl()}, 1.0,
                                       head_gradient, two_threads, memory);
  EXPECT_EQ(got.loss, 0.0);
  EXPECT_TRUE(at::equal(got.hidden_gradient, at::zeros_like(c.hidden)));
}

}  // namespace
}  // namespace attar
