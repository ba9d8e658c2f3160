// The types that llama.cpp's presets mix.
#pragma once

#include <string_view>

#include "runtime/formats/blocks/quant_format.h"
#include "runtime/formats/config.h"
#include "runtime/formats/tensor_specs.h"

namespace attar {

struct PresetContext {
  std::string_view name;  // "Q4_K_M"
  TensorType base;        // what most tensors get
  bool importance;        // measured, as with llama.cpp's importance matrix
  bool fused_qkv;         // one tensor for query, key and value
};
// Before the fallback of rows that do not divide.
TensorType preset_type(const PresetContext& preset, const TensorSpec& spec, const ModelConfig& config);

}  // namespace attar
