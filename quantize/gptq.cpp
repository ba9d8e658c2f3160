#include "quantize/gptq.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cholesky_inverse.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "compress/obs.h"
#include "quantize/gptq_lattice.h"
#include "quantize/grid/grid.h"
#include "quantize/grid/lattice.h"
#include "quantize/refine.h"
#include "quantize/row_lanes.h"
#include "runtime/base/error.h"
#include "runtime/base/fast_math.h"

namespace attar::gptq {
namespace {

constexpr double kDamping = 0.05;
constexpr int kMostDampings = 5;  // each ten times the one before

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

// Runs of `together` columns, most energy first.
std::vector<int64_t> by_energy(const at::Tensor& diagonal, int64_t together) {
  const at::Tensor sums = diagonal.view({-1, together}).sum(at::IntArrayRef{1}, false, at::kDouble);
  const auto* energy = sums.const_data_ptr<double>();
  std::vector<int64_t> runs(static_cast<size_t>(sums.numel())), order;
  std::iota(runs.begin(), runs.end(), 0);
  std::stable_sort(runs.begin(), runs.end(), [&](int64_t a, int64_t b) { return energy[a] > energy[b]; });
  for (const int64_t run : runs)
    for (int64_t j = 0; j < together; ++j) order.push_back(run * together + j);
  return order;
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

// Columns begin .. begin + count of `left` in feedback's order, one after another: each is rounded, and the later ones
// make up for it. errors (count, kRowLanes), values (in, kRowLanes)
struct FeedbackBlock {
  const Grid& grid;
  const std::vector<StepLanes>& steps;
  const int64_t* columns;
  const float* factor;  // row `begin` of it, from column `begin` on
  int64_t factor_stride;
  float* left;
  float* errors;
  float* values;
};
ATTAR_VECTOR_CLONES void make_up(const float* error, const float* factors, int64_t count, float* left) {
  for (int64_t k = 0; k < count; ++k)
    for (int r = 0; r < kRowLanes; ++r) left[k * kRowLanes + r] -= error[r] * factors[k];
}
void feed_back(const FeedbackBlock& block, int64_t count) {
  Lanes level;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t column = block.columns[i];
    const float *x = block.left + i * kRowLanes, *factors = block.factor + i * block.factor_stride + i;
    float *rounded = block.values + column * kRowLanes, *error = block.errors + i * kRowLanes;
    round_lanes(block.grid.levels, block.steps[static_cast<size_t>(column / 16)], x, level, rounded);
    for (int r = 0; r < kRowLanes; ++r) error[r] = (x[r] - rounded[r]) / factors[0];
    make_up(error, factors + 1, count - i - 1, block.left + (i + 1) * kRowLanes);
  }
}

// -> lanes (in, kRowLanes) of what they become under feedback
at::Tensor feedback_values(const Grid& grid, const std::vector<StepLanes>& steps, const InputHessian& inputs,
                           const at::Tensor& lanes) {
  const int64_t in = lanes.size(0);
  at::Tensor left = lanes.index_select(0, at::tensor(inputs.order, at::kLong)), values = at::empty_like(lanes),
             errors = at::empty({kBlockInputs, kRowLanes}, at::kFloat);
  for (int64_t begin = 0; begin < in; begin += kBlockInputs) {
    const int64_t count = std::min(kBlockInputs, in - begin), end = begin + count;
    feed_back({grid, steps, inputs.order.data() + begin, inputs.factor.const_data_ptr<float>() + begin * in + begin, in,
               left.mutable_data_ptr<float>() + begin * kRowLanes, errors.mutable_data_ptr<float>(),
               values.mutable_data_ptr<float>()},
              count);
    if (end < in)
      left.narrow(0, end, in - end)
          .addmm_(inputs.factor.narrow(0, begin, count).narrow(1, end, in - end).t(), errors.narrow(0, 0, count), 1,
                  -1);
  }
  return values;
}

at::Tensor nearest_values(const Grid& grid, const std::vector<StepLanes>& steps, const at::Tensor& lanes) {
  at::Tensor values = at::empty_like(lanes);
  Lanes level;
  for (int64_t j = 0; j < lanes.size(0); ++j)
    round_lanes(grid.levels, steps[static_cast<size_t>(j / 16)], lanes.const_data_ptr<float>() + j * kRowLanes, level,
                values.mutable_data_ptr<float>() + j * kRowLanes);
  return values;
}

// e H e^T, row by row. values, rows (n, in) -> (n) f64
std::vector<double> output_errors(const at::Tensor& values, const InputHessian& inputs) {
  const at::Tensor errors = (at::mm(values, inputs.hessian) * values).sum(at::IntArrayRef{1}, false, at::kDouble);
  const auto* e = errors.const_data_ptr<double>();
  return {e, e + errors.numel()};
}

}  // namespace

InputHessian input_hessian(const at::Tensor& gram, int64_t given_tokens, int64_t together) {
  const auto tokens = static_cast<double>(given_tokens);
  const at::Tensor diagonal = (gram.diagonal() / tokens).contiguous();
  InputHessian inputs;
  inputs.order = by_energy(diagonal, together);
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

namespace {

// Both ways to round rows (n, in); write() makes the bytes of one of them a row. -> what they decode to, (n, in)
struct Rounding {
  at::Tensor nearest, feedback;
  std::function<at::Tensor(const std::vector<bool>& fed_back, std::span<std::byte> out)> write;

  at::Tensor chosen(const std::vector<bool>& fed_back) const {
    at::Tensor values = nearest.clone();
    for (size_t r = 0; r < fed_back.size(); ++r)
      if (fed_back[r]) values[static_cast<int64_t>(r)].copy_(feedback[static_cast<int64_t>(r)]);
    return values;
  }
};

Rounding on_grid(const QuantFormat& format, const InputHessian& inputs, std::span<const float> weights,
                 const at::Tensor& rows) {
  const Grid found = fit_grid(format, {rows.const_data_ptr<float>(), static_cast<size_t>(rows.numel())}, weights);
  const int64_t n = rows.size(0);
  const std::vector<StepLanes> steps = to_lanes(found.steps, n);
  const at::Tensor lanes = to_lanes(rows);
  Rounding out{from_lanes(nearest_values(found, steps, lanes), n),
               from_lanes(feedback_values(found, steps, inputs, lanes), n),
               {}};
  out.write = [&inputs, found, rows, both = out](const std::vector<bool>& fed_back, std::span<std::byte> bytes) {
    Grid grid = found;
    at::Tensor values = both.chosen(fed_back);
    pack(grid, refine(inputs.hessian, rows, grid, values), bytes);
    return values;
  };
  return out;
}

Rounding on_lattice(const QuantFormat& format, const InputHessian& inputs, std::span<const float> weights,
                    const at::Tensor& rows) {
  std::vector<LatticeBlock> nearest =
      fit_lattice_blocks(format, {rows.const_data_ptr<float>(), static_cast<size_t>(rows.numel())}, weights);
  std::vector<LatticeBlock> feedback = nearest;
  std::vector<std::byte> bytes(static_cast<size_t>(format.row_bytes(rows.numel())));
  write_lattice(format, nearest, bytes);
  Rounding out{at::empty_like(rows), lattice_feedback(format, inputs, rows, feedback), {}};
  format.decode(bytes.data(), static_cast<int64_t>(nearest.size()), out.nearest.mutable_data_ptr<float>());
  out.write = [&format, nearest = std::move(nearest), feedback = std::move(feedback), both = out](
                  const std::vector<bool>& fed_back, std::span<std::byte> to) {
    const size_t a_row = nearest.size() / fed_back.size();
    std::vector<LatticeBlock> own = nearest;
    for (size_t b = 0; b < own.size(); ++b)
      if (fed_back[b / a_row]) own[b] = feedback[b];
    write_lattice(format, own, to);
    return both.chosen(fed_back);
  };
  return out;
}

}  // namespace

OutputError encode_rows(const QuantFormat& format, const InputHessian& inputs, std::span<const float> weights,
                        at::Tensor rows, std::span<std::byte> out) {
  if (const int64_t n = rows.size(0); n > kRowLanes) {
    const int64_t bytes = format.row_bytes(rows.size(1)) * kRowLanes;
    OutputError total =
        encode_rows(format, inputs, weights, rows.narrow(0, 0, kRowLanes), out.first(static_cast<size_t>(bytes)));
    total += encode_rows(format, inputs, weights, rows.narrow(0, kRowLanes, n - kRowLanes),
                         out.subspan(static_cast<size_t>(bytes)));
    return total;
  }
  const Rounding rounding = (format.lattice != nullptr ? on_lattice : on_grid)(format, inputs, weights, rows);
  const std::vector<double> nearest = output_errors(rounding.nearest - rows, inputs),
                            feedback = output_errors(rounding.feedback - rows, inputs),
                            energies = output_errors(rows, inputs);
  std::vector<bool> fed_back(energies.size());
  for (size_t r = 0; r < energies.size(); ++r) fed_back[r] = feedback[r] < nearest[r];
  const at::Tensor values = rounding.write(fed_back, out);
  const std::vector<double> kept = output_errors(values - rows, inputs);
  OutputError total;
  for (size_t r = 0; r < energies.size(); ++r) total += {nearest[r], feedback[r], kept[r], energies[r]};
  rows.copy_(values);
  return total;
}

}  // namespace attar::gptq
