#include "distill/features/hidden_match.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <vector>

#include "distill/pass/products.h"

namespace attar {
namespace {

constexpr double kRidge = 1e-3;         // of the mean square of a channel
constexpr double kLeastSquare = 1e-12;  // of a teacher's state: one of zeros is compared with nothing else

// One token: y (C), what the student shows; t (C), the teacher. by_y (C) is written.
HiddenWeights match_row(const float* y, const float* t, int64_t n, const HiddenWeights& weights, float* by_y) {
  double yy = 0.0, tt = 0.0, yt = 0.0, off = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double a = y[i], b = t[i];
    yy += a * a, tt += b * b, yt += a * b, off += (a - b) * (a - b);
  }
  const double square = std::max(tt, kLeastSquare), lengths = std::sqrt(yy * tt);
  const double cosine = lengths > 0.0 ? yt / lengths : 0.0;
  const double by_off = 2.0 * weights.mse / square;
  const double along = lengths > 0.0 ? weights.cosine * cosine / yy : 0.0;
  const double towards = lengths > 0.0 ? weights.cosine / lengths : 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double a = y[i], b = t[i];
    by_y[i] = static_cast<float>(by_off * (a - b) + along * a - towards * b);
  }
  return {off / square, 1.0 - cosine};
}

}  // namespace

HiddenMatch match_hidden(Team& team, const HiddenPair& pair, const HiddenWeights& weights, at::ScalarType kind,
                         const at::Tensor& by_projection) {
  const int64_t n = pair.teacher.size(0), width = pair.teacher.size(1);
  const bool projects = pair.projection.defined();
  const at::Tensor student = projects ? pair.student.to(kind) : pair.student.contiguous(),
                   projection = projects ? pair.projection.to(kind) : at::Tensor();
  at::Tensor shown = student;
  if (projects) {
    shown = at::empty({n, width}, kind);
    multiply(team, {forward_product(shown, student, projection)});
    shown = shown.to(at::kFloat);
  }
  const at::Tensor teacher = pair.teacher.contiguous(), by_shown = at::zeros({n, width}, at::kFloat);
  const auto *y = shown.const_data_ptr<float>(), *t = teacher.const_data_ptr<float>();
  const auto* counted = pair.counted.const_data_ptr<bool>();
  auto* by_y = by_shown.mutable_data_ptr<float>();
  std::vector<HiddenWeights> of_rows(static_cast<size_t>(n));
  team.rows(n, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      if (counted[r])
        of_rows[static_cast<size_t>(r)] = match_row(y + r * width, t + r * width, width, weights, by_y + r * width);
  });
  HiddenMatch out;
  for (const HiddenWeights& row : of_rows) out.mse += row.mse, out.cosine += row.cosine;
  out.by_student = by_shown;
  if (!projects) return out;
  const at::Tensor by_product = by_shown.to(kind), by_input = at::empty({n, student.size(1)}, kind);
  std::vector<Product> products{input_gradient(by_input, by_product, projection)};
  if (by_projection.defined()) products.push_back(weight_gradient(by_projection, by_product, student));
  multiply(team, products);
  out.by_student = by_input.to(at::kFloat);
  return out;
}

at::Tensor fit_projection(const at::Tensor& student, const at::Tensor& teacher) {
  const at::Tensor t = teacher.to(at::kDouble), s = student.to(at::kDouble);
  const at::Tensor share = t.square().sum(1, true).clamp_min(kLeastSquare).rsqrt();  // a token's distance is relative
  const at::Tensor weighed = s * share, square = weighed.t().matmul(weighed);
  const at::Tensor ridge = at::eye(square.size(0), at::kDouble) * square.diagonal().mean() * kRidge;
  const at::Tensor fitted = at::linalg_solve(square + ridge, weighed.t().matmul(t * share));  // (Cs, Ct)
  return fitted.t().contiguous().to(at::kFloat);
}

}  // namespace attar
