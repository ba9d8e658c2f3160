// What a report says of a quantized model: its types by tensor, by role and layer, and what they lose.
#pragma once

#include <string>

#include "quantize/quantize.h"

namespace attar {

// JSON: plan, predicted_kl where sensitivities were measured, bits_per_weight, bits {role: [by layer]},
// types {type: {tensors, bytes}}, tensor_bytes, tensors [{name, role, layer, type, bytes, relative_error}].
std::string quantize_record(const QuantizedModel& model);

}  // namespace attar
