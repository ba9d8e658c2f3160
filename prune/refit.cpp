#include "prune/refit.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cholesky_inverse.h>
#include <ATen/ops/cholesky_solve.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/inverse.h>
#include <ATen/ops/linalg_cholesky.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/where.h>

namespace attar {

at::Tensor damped(const at::Tensor& gram, double damping) {
  const at::Tensor diagonal = gram.diagonal();
  const double mean = diagonal.mean().item<double>();
  const at::Tensor unused = diagonal.le(0.0).to(at::kDouble);
  return gram + at::diag(unused + damping * (mean > 0.0 ? mean : 1.0));
}

at::Tensor removal_errors(const at::Tensor& weight, const at::Tensor& hessian, int64_t group) {
  const at::Tensor inverse = at::cholesky_inverse(at::linalg_cholesky(hessian));
  const at::Tensor w = weight.to(at::kDouble);
  if (group == 1) return (w * w).sum(0) / inverse.diagonal();
  const int64_t groups = weight.size(1) / group;
  at::Tensor errors = at::empty({groups}, at::kDouble);
  for (int64_t g = 0; g < groups; ++g) {
    const at::Tensor own = w.narrow(1, g * group, group);  // (out, group)
    const at::Tensor block =
        inverse.narrow(0, g * group, group).narrow(1, g * group, group).contiguous();  // (group, group)
    errors[g] = (at::mm(own, at::inverse(block)) * own).sum();
  }
  return errors;
}

at::Tensor refit(const at::Tensor& weight, const at::Tensor& hessian, const at::Tensor& kept) {
  const at::Tensor columns = hessian.index_select(1, kept);                      // (in, kept)
  const at::Tensor target = at::mm(weight.to(at::kDouble), columns);             // (out, kept)
  const at::Tensor factor = at::linalg_cholesky(columns.index_select(0, kept));  // (kept, kept)
  return at::cholesky_solve(target.t().contiguous(), factor).t().to(at::kFloat).contiguous();
}

double relative_error(const at::Tensor& weight, const at::Tensor& cut, const at::Tensor& gram, const at::Tensor& kept) {
  const at::Tensor old = weight.to(at::kDouble);
  at::Tensor difference = old.clone();
  difference.index_add_(1, kept, cut.to(at::kDouble), -1.0);
  const double whole = (at::mm(old, gram) * old).sum().item<double>();
  return whole > 0.0 ? (at::mm(difference, gram) * difference).sum().item<double>() / whole : 0.0;
}

}  // namespace attar
