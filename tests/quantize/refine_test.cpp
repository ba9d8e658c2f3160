#include "quantize/refine.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "quantize/gptq.h"
#include "quantize/grid/block_steps.h"
#include "tests/compress/normal_tensor.h"

namespace attar::gptq {
namespace {

constexpr int64_t kInputs = 256, kRows = 4;

at::Tensor some_hessian(uint64_t seed) {
  const at::Tensor x = at::mm(normal(2000, 12, seed), normal(12, kInputs, seed + 1)) + normal(2000, kInputs, seed + 2);
  return input_hessian(at::mm(x.t(), x), 2000).hessian;
}

// Nearest values of a grid.
at::Tensor rounded(const Grid& grid, const at::Tensor& rows) {
  at::Tensor values = rows.clone();
  auto* v = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) v[i] = round_at(grid, i, v[i]).value;
  return values;
}

std::vector<double> errors_of(const at::Tensor& values, const at::Tensor& rows, const at::Tensor& hessian) {
  const at::Tensor off = (values - rows).to(at::kDouble);
  const at::Tensor sums = (at::mm(off, hessian.to(at::kDouble)) * off).sum(1);
  return {sums.const_data_ptr<double>(), sums.const_data_ptr<double>() + sums.numel()};
}

Grid grid_of_rows(const QuantFormat& format, const at::Tensor& rows) {
  return fit_grid(format, {rows.const_data_ptr<float>(), static_cast<size_t>(rows.numel())}, {});
}

TEST(Refine, LowersEveryRowsErrorInEveryType) {
  const at::Tensor hessian = some_hessian(3), rows = normal(kRows, kInputs, 7).to(at::kFloat).contiguous();
  for (const QuantFormat& format : quant_formats()) {
    if (!has_grid(format)) continue;
    Grid grid = grid_of_rows(format, rows);
    at::Tensor values = rounded(grid, rows);
    const std::vector<double> before = errors_of(values, rows, hessian);
    refine(hessian, rows, grid, values);
    const std::vector<double> after = errors_of(values, rows, hessian);
    for (size_t r = 0; r < before.size(); ++r) EXPECT_LT(after[r], 0.95 * before[r]) << format.name;
    const auto* v = values.const_data_ptr<float>();
    for (int64_t i = 0; i < values.numel(); ++i) ASSERT_EQ(round_at(grid, i, v[i]).value, v[i]) << format.name;
    const Grid of_bytes = grid_of(format, grid.blocks);
    for (size_t i = 0; i < grid.steps.size(); ++i) {
      ASSERT_EQ(grid.steps[i].scale, of_bytes.steps[i].scale) << format.name;
      ASSERT_EQ(grid.steps[i].minimum, of_bytes.steps[i].minimum) << format.name;
    }
  }
}

double sum_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

// Rows on a grid whose steps were then set wrong, codes and all else right: block after block, least squares finds most
// of the way back.
TEST(Refine, FindsTheStepsThatTheRowsHave) {
  const at::Tensor hessian = some_hessian(11);
  for (const TensorType type : {TensorType::Q4_0, TensorType::IQ4_NL, TensorType::Q4_1, TensorType::Q4_K}) {
    const QuantFormat& format = format_of(type);
    const at::Tensor any = normal(kRows, kInputs, 13).to(at::kFloat).contiguous();
    const Grid right = grid_of_rows(format, any);
    const at::Tensor rows = rounded(right, any);
    std::vector<std::byte> blocks = right.blocks;
    const int64_t place = *step_places(format).d;
    for (auto* block = blocks.data(); block < blocks.data() + blocks.size(); block += format.block_bytes)
      put_half(block, place, 1.02f * half_at(block, place));
    Grid grid = grid_of(format, blocks);
    at::Tensor values = rows.clone();
    auto* v = values.mutable_data_ptr<float>();
    for (int64_t i = 0; i < values.numel(); ++i) {
      const Grid::Step &of = right.steps[static_cast<size_t>(i / 16)], &wrong = grid.steps[static_cast<size_t>(i / 16)];
      v[i] = wrong.scale * right.levels.nearest((v[i] - of.minimum) * of.inverse) + wrong.minimum;
    }
    const double before = sum_of(errors_of(values, rows, hessian));
    refine(hessian, rows, grid, values);
    EXPECT_LT(sum_of(errors_of(values, rows, hessian)), 0.5 * before) << format.name;
  }
}

// One wrong code among right ones.
TEST(Refine, FindsTheCodeThatTheRowHas) {
  const at::Tensor hessian = some_hessian(17);
  for (const TensorType type : {TensorType::Q4_0, TensorType::IQ4_NL, TensorType::Q8_0, TensorType::Q2_K}) {
    const QuantFormat& format = format_of(type);
    const at::Tensor any = normal(kRows, kInputs, 19).to(at::kFloat).contiguous();
    Grid grid = grid_of_rows(format, any);
    const at::Tensor rows = rounded(grid, any);
    at::Tensor values = rows.clone();
    float& one = values.mutable_data_ptr<float>()[5];
    const Grid::Step& step = grid.steps[0];
    const Levels& levels = grid.levels;
    const float level = levels.nearest((one - step.minimum) * step.inverse),
                up = levels.table ? levels.above<true>(level) : levels.above<false>(level),
                down = levels.table ? levels.below<true>(level) : levels.below<false>(level);
    one = step.scale * (up != level ? up : down) + step.minimum;
    const double before = sum_of(errors_of(values, rows, hessian));
    refine(hessian, rows, grid, values);
    EXPECT_LT(sum_of(errors_of(values, rows, hessian)), 0.1 * before) << format.name;
  }
}

}  // namespace
}  // namespace attar::gptq
