#include "compress/obs.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cholesky_inverse.h>
#include <ATen/ops/cholesky_solve.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_cholesky.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>

namespace attar::obs {
namespace {

// (in, in) -> (groups, group, group), a copy
at::Tensor diagonal_blocks(const at::Tensor& matrix, int64_t group) {
  const int64_t groups = matrix.size(0) / group;
  return matrix.view({groups, group, groups, group}).diagonal(0, 0, 2).permute({2, 0, 1}).contiguous();
}
// (rows, in) -> (groups, rows, group)
at::Tensor by_group(const at::Tensor& rows, int64_t group) {
  return rows.view({rows.size(0), rows.size(1) / group, group}).transpose(0, 1);
}

// H^-1 and the weights' energy W^T W while groups leave, one after another. Both change by a few rows a removal, so
// they are kept as they were with those rows beside them, and only what a removal asks for is worked out:
// H^-1 - A^T A and W^T W - (A^T B + B^T A), where a removed group S adds to A the rows R^-1 [H^-1]_S,: with
// R R^T = [H^-1]_SS, and to B those of R^-1 [W^T W]_S,: less half of what A already explains.
class Downdates {
 public:
  Downdates(const at::Tensor& weight, const at::Tensor& inverse, int64_t group, int64_t count)
      : group_(group),
        inverse_(inverse),
        energy_(at::mm(weight.t(), weight)),
        inverse_blocks_(diagonal_blocks(inverse, group)),
        energy_blocks_(diagonal_blocks(energy_, group)),
        a_(at::empty({count * group, inverse.size(0)}, at::kDouble)),
        b_(at::empty({count * group, inverse.size(0)}, at::kDouble)) {}

  // Error that each group would add if it went next. -> (groups)
  at::Tensor errors() const {
    if (group_ == 1) return (energy_blocks_ / inverse_blocks_).view({-1});
    return at::linalg_solve(inverse_blocks_, energy_blocks_).diagonal(0, 1, 2).sum(-1);
  }

  void remove(int64_t place) {
    const int64_t begin = place * group_;
    const at::Tensor a_before = a_.narrow(0, 0, n_rows_), b_before = b_.narrow(0, 0, n_rows_);
    const at::Tensor a_own = a_before.narrow(1, begin, group_).t(), b_own = b_before.narrow(1, begin, group_).t();
    const at::Tensor inverse_rows = inverse_.narrow(0, begin, group_) - at::mm(a_own, a_before);  // (group, in)
    const at::Tensor energy_rows =
        energy_.narrow(0, begin, group_) - at::mm(a_own, b_before) - at::mm(b_own, a_before);  // (group, in)
    const at::Tensor root = at::linalg_cholesky(inverse_rows.narrow(1, begin, group_));
    const auto over_root = [&](const at::Tensor& rows) { return at::linalg_solve_triangular(root, rows, false); };
    const at::Tensor a = over_root(inverse_rows), explained = over_root(energy_rows);
    const at::Tensor own = over_root(explained.narrow(1, begin, group_).t());  // (group, group), symmetric
    const at::Tensor b = explained - 0.5 * at::mm(own, a);
    a_.narrow(0, n_rows_, group_).copy_(a);
    b_.narrow(0, n_rows_, group_).copy_(b);
    n_rows_ += group_;
    const at::Tensor a_blocks = by_group(a, group_), b_blocks = by_group(b, group_);
    inverse_blocks_ -= at::bmm(a_blocks.transpose(1, 2), a_blocks);
    const at::Tensor cross = at::bmm(a_blocks.transpose(1, 2), b_blocks);
    energy_blocks_ -= cross + cross.transpose(1, 2);
    inverse_blocks_[place] = at::diag(at::ones({group_}, at::kDouble));  // it is gone: any block that can be inverted
  }

 private:
  int64_t group_;
  at::Tensor inverse_, energy_;                // (in, in) before any removal
  at::Tensor inverse_blocks_, energy_blocks_;  // (groups, group, group) after all of them
  at::Tensor a_, b_;                           // (removals * group, in)
  int64_t n_rows_ = 0;                         // of a_ and b_ so far
};

}  // namespace

at::Tensor ridge(const at::Tensor& gram, double damping) {
  return ridge_of(gram.diagonal(), damping);
}

at::Tensor ridge_of(const at::Tensor& diagonal, double damping) {
  const at::Tensor used = diagonal.gt(0.0);
  const at::Tensor least = used.any().item<bool>() ? diagonal.masked_select(used).min() : at::ones({}, at::kDouble);
  return damping * at::where(used, diagonal, least);
}

at::Tensor inverted(const at::Tensor& hessian) {
  return at::cholesky_inverse(at::linalg_cholesky(hessian));
}

std::vector<int64_t> removal_order(const at::Tensor& weight, const at::Tensor& inverse, int64_t group, int64_t count) {
  Downdates downdates(weight, inverse, group, count);
  std::vector<uint8_t> gone(static_cast<size_t>(inverse.size(0) / group), 0);
  std::vector<int64_t> order;
  while (static_cast<int64_t>(order.size()) < count) {
    const at::Tensor errors = downdates.errors();
    const auto* error = errors.const_data_ptr<double>();
    size_t best = gone.size();
    for (size_t g = 0; g < gone.size(); ++g)
      if (gone[g] == 0 && (best == gone.size() || error[g] < error[best])) best = g;
    downdates.remove(static_cast<int64_t>(best));
    gone[best] = 1;
    order.push_back(static_cast<int64_t>(best));
  }
  return order;
}

at::Tensor without_inputs(const at::Tensor& weight, const at::Tensor& inverse, const at::Tensor& removed) {
  if (removed.numel() == 0) return weight.clone();
  const at::Tensor rows = inverse.index_select(0, removed);                                    // (k, in)
  const at::Tensor root = at::linalg_cholesky(rows.index_select(1, removed));                  // (k, k)
  const at::Tensor share = at::cholesky_solve(weight.index_select(1, removed).t(), root).t();  // (out, k)
  at::Tensor rest = weight - at::mm(share, rows);
  return rest.index_fill_(1, removed, 0.0);
}

}  // namespace attar::obs
