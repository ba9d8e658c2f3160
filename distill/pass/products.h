// Matrix products of a training step, cut into parts that the threads of a team make side by side. How they are cut
// follows from the shapes alone, so that no bit depends on how many threads there are.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "compress/shards.h"

namespace attar {

// out (M, N) = a (M, K) b (K, N), a and b of one kind, f32 or bf16. An `out` of the same kind is overwritten; what a
// bf16 product adds to an f32 `out` is rounded to bf16 first.
struct Product {
  at::Tensor out, a, b;
  bool by_rows = false;  // cut along M instead of N: where M is the weights' side
  bool add = false;      // out += a b; out is f32
};
void multiply(Team& team, const std::vector<Product>& products);
// out += a b by the thread that calls; out is f32.
void add_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b);

// What linears need, for inputs x (N, in), outputs y (N, out) and weights w (out, in).
inline Product forward_product(const at::Tensor& y, const at::Tensor& x, const at::Tensor& w) {
  return {.out = y, .a = x, .b = w.t()};
}
inline Product input_gradient(const at::Tensor& by_x, const at::Tensor& by_y, const at::Tensor& w) {
  return {.out = by_x, .a = by_y, .b = w};
}
inline Product weight_gradient(const at::Tensor& by_w, const at::Tensor& by_y, const at::Tensor& x) {
  return {.out = by_w, .a = by_y.t(), .b = x, .by_rows = true, .add = true};
}

}  // namespace attar
