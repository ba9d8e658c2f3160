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

ProductsIn::ProductsIn(Precision precision, c10::DeviceType device)
    : device_(device),
      enabled_(at::autocast::is_autocast_enabled(device)),
      cached_(at::autocast::is_autocast_cache_enabled()),
      kind_(at::autocast::get_autocast_dtype(device)) {
  at::autocast::set_autocast_enabled(device, precision == Precision::Bf16);
  at::autocast::set_autocast_dtype(device, at::kBFloat16);
  at::autocast::set_autocast_cache_enabled(false);  // each weight is used once in a forward pass
}
ProductsIn::~ProductsIn() {
  at::autocast::set_autocast_enabled(device_, enabled_);
  at::autocast::set_autocast_dtype(device_, kind_);
  at::autocast::set_autocast_cache_enabled(cached_);
}

}  // namespace attar
