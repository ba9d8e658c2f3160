#include "quantize/gptq.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "compress/obs.h"
#include "quantize/gptq_lattice.h"
#include "quantize/grid/encode.h"
#include "quantize/grid/grid.h"
#include "quantize/grid/lattice.h"
#include "tests/compress/normal_tensor.h"

namespace attar::gptq {
namespace {

// X^T X of inputs that share directions and differ in loudness by up to ten.
at::Tensor some_gram(int64_t in, int64_t tokens, uint64_t seed) {
  at::Tensor x = at::mm(normal(tokens, 12, seed), normal(12, in, seed + 1)) + 0.5 * normal(tokens, in, seed + 2);
  for (int64_t j = 0; j < in; ++j) x.select(1, j).mul_(std::pow(10.0, 0.5 * static_cast<double>(j % 3)));
  return at::mm(x.t(), x);
}

std::vector<float> diagonal_of(const at::Tensor& gram) {
  const at::Tensor diagonal = gram.diagonal().to(at::kFloat).contiguous();
  return {diagonal.const_data_ptr<float>(), diagonal.const_data_ptr<float>() + diagonal.numel()};
}

// The same by the definition: after each input is rounded, the best weights of those that are left, with H_LL inverted
// anew each time.
std::vector<float> feedback_reference(const Grid& grid, const InputHessian& inputs, const at::Tensor& row) {
  const at::Tensor hessian = inputs.hessian.to(at::kDouble);
  std::vector<int64_t> left = inputs.order;
  at::Tensor weight = row.to(at::kDouble).clone();
  std::vector<float> values(static_cast<size_t>(row.numel()));
  while (!left.empty()) {
    const at::Tensor places = at::tensor(left, at::kLong);
    const at::Tensor inverse = obs::inverted(hessian.index_select(0, places).index_select(1, places));
    const int64_t j = left.front();
    const float rounded = round_at(grid, j, static_cast<float>(weight[j].item<double>())).value;
    const at::Tensor error = (weight[j] - static_cast<double>(rounded)) / inverse[0][0];
    weight.index_add_(0, places, -error * inverse[0]);
    values[static_cast<size_t>(j)] = rounded;
    left.erase(left.begin());
  }
  return values;
}

TEST(Gptq, IsTheBestAnswerToEachRoundedInput) {
  for (const int64_t in : {32, 96, 160}) {
    const at::Tensor gram = some_gram(in, 20 * in, 3), weight = normal(3, in, 7).to(at::kFloat);
    const InputHessian inputs = input_hessian(gram, 20 * in);
    const QuantFormat& format = format_of(TensorType::Q4_0);
    at::Tensor rows = weight.clone();
    std::vector<std::byte> bytes(static_cast<size_t>(3 * format.row_bytes(in)));
    const OutputError error = encode_rows(format, inputs, diagonal_of(gram), rows, bytes);
    double expected = 0.0;
    for (int64_t r = 0; r < 3; ++r) {
      const Grid grid =
          fit_grid(format, {weight[r].const_data_ptr<float>(), static_cast<size_t>(in)}, diagonal_of(gram));
      const std::vector<float> values = feedback_reference(grid, inputs, weight[r]);
      const at::Tensor off = at::tensor(values).sub_(weight[r]).to(at::kDouble).unsqueeze(0);
      expected += (at::mm(off, inputs.hessian.to(at::kDouble)) * off).sum().item<double>();
    }
    EXPECT_NEAR(error.fed_back, expected, 0.02 * expected) << in;  // f32 beside double: ties apart
    EXPECT_LT(error.kept, error.fed_back) << in;
  }
}

TEST(Gptq, IsNeverWorseThanRoundingAndMuchBetterOnSharedInputs) {
  const int64_t in = 512, n = 5;
  const at::Tensor gram = some_gram(in, 4096, 11), weight = normal(n, in, 13).to(at::kFloat);
  const InputHessian single = input_hessian(gram, 4096), eights = input_hessian(gram, 4096, 8);
  int64_t types = 0;
  for (const QuantFormat& format : quant_formats()) {
    if (!format.written_in_blocks()) continue;
    ++types;
    const InputHessian& inputs = format.lattice != nullptr ? eights : single;
    at::Tensor rows = weight.clone();
    std::vector<std::byte> bytes(static_cast<size_t>(n * format.row_bytes(in)));
    const OutputError error = encode_rows(format, inputs, diagonal_of(gram), rows, bytes);
    EXPECT_LT(error.kept, 0.5 * error.nearest) << format.name;
    std::vector<float> decoded(static_cast<size_t>(n * in));
    format.decode(bytes.data(), n * in / format.block_size, decoded.data());
    EXPECT_EQ(std::memcmp(decoded.data(), rows.const_data_ptr<float>(), decoded.size() * sizeof(float)), 0)
        << format.name;
    const at::Tensor off = (rows - weight).to(at::kDouble);
    const double measured = (at::mm(off, inputs.hessian.to(at::kDouble)) * off).sum().item<double>();
    EXPECT_NEAR(measured, error.kept, 1e-3 * measured) << format.name;
  }
  EXPECT_EQ(types, 25);
}

// Columns keep together, and those of most energy go first.
TEST(Gptq, EightsAreOrderedAsWholes) {
  at::Tensor gram = at::eye(32, at::kDouble);
  gram[9][9] = 5.0, gram[24][24] = 3.0, gram[31][31] = 4.0;
  const std::vector<int64_t> order = input_hessian(gram, 1, 8).order;
  std::vector<int64_t> expected;
  for (const int64_t run : {3, 1, 0, 2})
    for (int64_t j = 0; j < 8; ++j) expected.push_back(8 * run + j);
  EXPECT_EQ(order, expected);
}

// Without feedback between columns an eight's metric is diagonal: what the search takes, which found the same steps.
TEST(Gptq, WithoutSharedInputsEightsRound) {
  const int64_t in = 256;
  const InputHessian inputs = input_hessian(at::eye(in, at::kDouble), 1, 8);
  const at::Tensor rows = normal(19, in, 5).to(at::kFloat);
  const std::span<const float> values(rows.const_data_ptr<float>(), static_cast<size_t>(rows.numel()));
  for (const QuantFormat& format : quant_formats()) {
    if (format.lattice == nullptr) continue;
    const std::vector<LatticeBlock> nearest = fit_lattice_blocks(format, values, {});
    std::vector<LatticeBlock> blocks = nearest;
    const at::Tensor found = lattice_feedback(format, inputs, rows, blocks);
    std::vector<std::byte> bytes(static_cast<size_t>(format.row_bytes(rows.numel()))), expected(bytes.size());
    write_lattice(format, blocks, bytes), write_lattice(format, nearest, expected);
    EXPECT_EQ(bytes, expected) << format.name;
    std::vector<float> decoded(values.size());
    format.decode(bytes.data(), rows.numel() / 256, decoded.data());
    EXPECT_EQ(std::memcmp(decoded.data(), found.const_data_ptr<float>(), decoded.size() * sizeof(float)), 0)
        << format.name;
  }
}

TEST(Gptq, WithoutSharedInputsItRounds) {
  const int64_t in = 64;
  const InputHessian inputs = input_hessian(at::eye(in, at::kDouble), 1);
  const QuantFormat& format = format_of(TensorType::IQ4_NL);
  at::Tensor rows = normal(1, in, 5).to(at::kFloat);
  const std::vector<float> row(rows.const_data_ptr<float>(), rows.const_data_ptr<float>() + in), ones(64, 1.0f);
  std::vector<std::byte> bytes(static_cast<size_t>(format.row_bytes(in))), plain(bytes.size());
  encode_rows(format, inputs, ones, rows, bytes);
  attar::encode_rows(format, row, ones, plain);
  EXPECT_EQ(bytes, plain);
}

TEST(Gptq, DeadAndRepeatedInputs) {
  at::Tensor gram = some_gram(64, 8, 17);  // of rank 8
  gram.select(0, 5).zero_(), gram.select(1, 5).zero_();
  const InputHessian inputs = input_hessian(gram, 8);
  EXPECT_TRUE(std::isfinite(inputs.factor.sum().item<float>()));
  at::Tensor rows = normal(2, 64, 19).to(at::kFloat);
  const QuantFormat& format = format_of(TensorType::Q8_0);
  std::vector<std::byte> bytes(static_cast<size_t>(2 * format.row_bytes(64)));
  EXPECT_TRUE(std::isfinite(encode_rows(format, inputs, {}, rows, bytes).kept));
}

}  // namespace
}  // namespace attar::gptq
