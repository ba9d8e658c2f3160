// In what a trainer multiplies matrices. Weights, gradients and all else stay f32.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

namespace attar {

enum class Precision {
  Fp32,
  Bf16,  // factors and products are rounded to bf16, sums are f32: quick where the processor multiplies bf16 itself
};

// fp32, bf16, or auto: bf16 where this processor multiplies it. nullopt: none of the three
std::optional<Precision> find_precision(std::string_view name);

// While one lives, linears, products of batches and attention that this thread computes on such a device are computed
// so, whatever the host has set (LibTorch's autocast); with Bf16 what they give is bf16. Then the host's settings are
// back.
class ProductsIn {
 public:
  explicit ProductsIn(Precision precision, c10::DeviceType device = c10::DeviceType::CPU);
  ~ProductsIn();
  ProductsIn(const ProductsIn&) = delete;
  ProductsIn& operator=(const ProductsIn&) = delete;

 private:
  c10::DeviceType device_;
  bool enabled_, cached_;
  at::ScalarType kind_;
};

}  // namespace attar
