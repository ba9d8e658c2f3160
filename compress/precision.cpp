#include "compress/precision.h"

#include <ATen/autocast_mode.h>

#include "runtime/base/host/cpu.h"

namespace attar {

std::optional<Precision> find_precision(std::string_view name) {
  if (name == "fp32") return Precision::Fp32;
  if (name == "bf16") return Precision::Bf16;
  if (name == "auto") return cpu_features().avx512_bf16 ? Precision::Bf16 : Precision::Fp32;
  return std::nullopt;
}

ProductsIn::ProductsIn(Precision precision)
    : enabled_(at::autocast::is_autocast_enabled(at::kCPU)),
      cached_(at::autocast::is_autocast_cache_enabled()),
      kind_(static_cast<std::int8_t>(at::autocast::get_autocast_dtype(at::kCPU))) {
  at::autocast::set_autocast_enabled(at::kCPU, precision == Precision::Bf16);
  at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  at::autocast::set_autocast_cache_enabled(false);  // each weight is used once in a forward pass
}
ProductsIn::~ProductsIn() {
  at::autocast::set_autocast_enabled(at::kCPU, enabled_);
  at::autocast::set_autocast_dtype(at::kCPU, static_cast<at::ScalarType>(kind_));
  at::autocast::set_autocast_cache_enabled(cached_);
}

}  // namespace attar
