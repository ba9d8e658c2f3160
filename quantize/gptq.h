// Error feedback: inputs of a linear are rounded one after another, and what rounding one loses is made up for by those
// not yet rounded (GPTQ, Frantar et al. 2023, arXiv 2210.17323). Scales are found before, by fit_grid, so the order of
// inputs is free: those of most energy go first, in any type and with nothing stored ("act-order" on static groups).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/formats/blocks/quant_format.h"

namespace attar::gptq {

inline constexpr int64_t kBlockInputs = 64;  // whose errors reach the other inputs as one product

// How the inputs of a group of linears vary together. An error E (out, in) of the weights costs tr(E H E^T) a token.
struct InputHessian {
  at::Tensor hessian;          // (in, in) f32: mean of x x^T, damped
  std::vector<int64_t> order;  // (in): most energy first; where columns go together, of those
  at::Tensor factor;           // (in, in) f32, upper, rows and columns by `order`: H^-1 = factor^T factor
};

// Columns keep together in runs of `together`. gram (in, in) f64: X^T X of `tokens` tokens. Every input is damped by a
// twentieth of its own energy: a share of the mean would hide quiet inputs behind a loud one. Error{Input} if it cannot
// be inverted however damped.
InputHessian input_hessian(const at::Tensor& gram, int64_t tokens, int64_t together = 1);

// How many columns a type rounds at once: what its `together` is.
inline int64_t columns_at_once(const QuantFormat& format) {
  return format.lattice != nullptr ? 8 : 1;
}

// Mean squared output error a token, summed over rows.
struct OutputError {
  double nearest = 0;   // of the nearest value for each weight
  double fed_back = 0;  // of what feedback alone gives
  double kept = 0;      // of what was written, never more than either
  double energy = 0;    // of the outputs themselves

  OutputError& operator+=(const OutputError& other) {
    nearest += other.nearest, fed_back += other.fed_back, kept += other.kept, energy += other.energy;
    return *this;
  }
};

// inputs: with columns_at_once. rows (n, in) f32, contiguous, by one thread. weights (in): what fit_grid searches
// under. Each row takes the better of feedback and nearest values, and on a grid refine() goes on from there ->
// n * row_bytes(in) bytes, and `rows` becomes what they decode to.
OutputError encode_rows(const QuantFormat& format, const InputHessian& inputs, std::span<const float> weights,
                        at::Tensor rows, std::span<std::byte> out);

}  // namespace attar::gptq
