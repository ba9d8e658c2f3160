#include "quantize/gptq.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cholesky_inverse.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>

#include "compress/obs.h"
#include "quantize/grid/grid.h"
#include "quantize/refine.h"
#include "runtime/base/error.h"

namespace attar::gptq {
namespace {

constexpr double kDamping = 0.05;
constexpr int kMostDampings = 5;      // each ten times the one before
constexpr int64_t kBlockInputs = 64;  // whose errors reach the other inputs as one product

constexpr int64_t kPanelRows = 256;  // of a matrix that another is made of, at once

// In place: the triangle of `matrix`, which is in column order.
bool cholesky(at::Tensor& matrix, bool upper) {
  at::Tensor info = at::empty({}, at::kInt);
  at::linalg_cholesky_ex_out(matrix, info, matrix, upper);
  return info.item<int>() == 0;
}

// gram / tokens with `diagonal` (in) for its own, rows and columns by `order`. -> (in, in) f64, in column order
at::Tensor ordered_mean(const at::Tensor& gram, double tokens, const at::Tensor& diagonal, const at::Tensor& order) {
  at::Tensor out = at::empty(gram.sizes(), at::kDouble).t();
  for (int64_t row = 0; row < out.size(0); row += kPanelRows) {
    const int64_t n = std::min(kPanelRows, out.size(0) - row);
    out.narrow(0, row, n).copy_(gram.index_select(0, order.narrow(0, row, n)).index_select(1, order).div_(tokens));
  }
  out.diagonal().copy_(diagonal.index_select(0, order));
  return out;
}

// The same in the inputs' own order. -> (in, in) f32
at::Tensor float_mean(const at::Tensor& gram, double tokens, const at::Tensor& diagonal) {
  at::Tensor out = at::empty(gram.sizes(), at::kFloat);
  for (int64_t row = 0; row < out.size(0); row += kPanelRows) {
    const int64_t n = std::min(kPanelRows, out.size(0) - row);
    out.narrow(0, row, n).copy_(gram.narrow(0, row, n) / tokens);
  }
  out.diagonal().copy_(diagonal);
  return out;
}

// What the rows become under nearest rounding. -> (n, in)
at::Tensor nearest_values(const Grid& grid, const at::Tensor& rows) {
  at::Tensor values = at::empty_like(rows);
  const auto* x = rows.const_data_ptr<float>();
  auto* v = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < rows.numel(); ++i) v[i] = round_at(grid, i, x[i]).value;
  return values;
}

// -> (n, in) under feedback
at::Tensor feedback_values(const Grid& grid, const InputHessian& inputs, const at::Tensor& rows) {
  const int64_t n = rows.size(0), in = rows.size(1);
  const at::Tensor order = at::tensor(inputs.order, at::kLong);
  at::Tensor left = rows.index_select(1, order).contiguous(), values = at::empty_like(rows);
  const auto* factor = inputs.factor.const_data_ptr<float>();
  auto* value = values.mutable_data_ptr<float>();
  for (int64_t begin = 0; begin < in; begin += kBlockInputs) {
    const int64_t count = std::min(kBlockInputs, in - begin), end = begin + count;
    at::Tensor errors = at::empty({n, count}, at::kFloat);
    for (int64_t r = 0; r < n; ++r) {
      float* x = left.mutable_data_ptr<float>() + r * in;
      float* error = errors.mutable_data_ptr<float>() + r * count;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t j = inputs.order[static_cast<size_t>(i)];
        const float* row = factor + i * in;
        const float rounded = round_at(grid, r * in + j, x[i]).value;
        const float e = (x[i] - rounded) / row[i];
        for (int64_t k = i + 1; k < end; ++k) x[k] -= e * row[k];
        error[i - begin] = e;
        value[r * in + j] = rounded;
      }
    }
    if (end < in)
      left.narrow(1, end, in - end) -= at::mm(errors, inputs.factor.narrow(0, begin, count).narrow(1, end, in - end));
  }
  return values;
}

// e H e^T, row by row. values, rows (n, in) -> (n) f64
std::vector<double> output_errors(const at::Tensor& values, const InputHessian& inputs) {
  const at::Tensor errors = (at::mm(values, inputs.hessian) * values).sum(at::IntArrayRef{1}, false, at::kDouble);
  const auto* e = errors.const_data_ptr<double>();
  return {e, e + errors.numel()};
}

}  // namespace

InputHessian input_hessian(const at::Tensor& gram, int64_t given_tokens) {
  const auto tokens = static_cast<double>(given_tokens);
  const at::Tensor diagonal = (gram.diagonal() / tokens).contiguous();
  const auto* energy = diagonal.const_data_ptr<double>();
  InputHessian inputs;
  inputs.order.resize(static_cast<size_t>(gram.size(0)));
  std::iota(inputs.order.begin(), inputs.order.end(), 0);
  std::stable_sort(inputs.order.begin(), inputs.order.end(),
                   [&](int64_t a, int64_t b) { return energy[a] > energy[b]; });
  const at::Tensor order = at::tensor(inputs.order, at::kLong);
  double damping = kDamping;
  for (int i = 0; i < kMostDampings; ++i, damping *= 10.0) {
    const at::Tensor damped = diagonal + obs::ridge_of(diagonal, damping);
    at::Tensor factor = ordered_mean(gram, tokens, damped, order);
    if (!cholesky(factor, false)) continue;
    at::cholesky_inverse_out(factor, factor);
    if (!cholesky(factor, true)) continue;
    inputs.factor = at::empty(gram.sizes(), at::kFloat).copy_(factor);
    factor.reset();
    inputs.hessian = float_mean(gram, tokens, damped);
    return inputs;
  }
  throw input_error("quantize", "the inputs of a layer vary too little to round with error feedback", "", "",
                    "give more calibration text, or use the preset fast");
}

OutputError encode_rows(const QuantFormat& format, const InputHessian& inputs, std::span<const float> weights,
                        at::Tensor rows, std::span<std::byte> out) {
  const int64_t n = rows.size(0), in = rows.size(1);
  const auto* row_data = rows.const_data_ptr<float>();
  Grid grid = fit_grid(format, {row_data, static_cast<size_t>(n * in)}, weights);
  const at::Tensor nearest = nearest_values(grid, rows);
  at::Tensor values = feedback_values(grid, inputs, rows);
  const std::vector<double> nearest_errors = output_errors(nearest - rows, inputs),
                            feedback_errors = output_errors(values - rows, inputs),
                            energies = output_errors(rows, inputs);
  for (int64_t r = 0; r < n; ++r)
    if (const auto at = static_cast<size_t>(r); nearest_errors[at] <= feedback_errors[at]) values[r].copy_(nearest[r]);
  refine(inputs.hessian, rows, grid, values);
  const std::vector<double> errors = output_errors(values - rows, inputs);
  OutputError total;
  for (size_t r = 0; r < errors.size(); ++r) {
    total.nearest += nearest_errors[r], total.fed_back += feedback_errors[r];
    total.kept += errors[r], total.energy += energies[r];
  }
  rows.copy_(values);
  std::vector<int8_t> codes(static_cast<size_t>(n * in));
  for (int64_t i = 0; i < n * in; ++i)  // a value of the grid rounds to its own code
    codes[static_cast<size_t>(i)] = round_at(grid, i, row_data[i]).code;
  pack(grid, codes, out);
  return total;
}

}  // namespace attar::gptq
