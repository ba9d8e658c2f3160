// What stages say of what they made, for reports and for the verbs' --json.
#pragma once

#include <string>
#include <vector>

#include "prune/prune.h"
#include "quantize/quantize.h"

namespace attar {

// A JSON array: what was kept of each layer, and the error that is left.
std::string layer_cuts_json(const std::vector<LayerCut>& cuts);

// JSON: plan, predicted_kl where sensitivities were measured, calibration_tokens that were used where there was text,
// blocks [{layer, error_before, error_after}] where blocks learned, bits_per_weight, bits {role: [by layer]}, types
// {type: {tensors, bytes}}, tensor_bytes, tensors [{name, role, layer, type, bytes, relative_error}].
std::string quantize_record(const QuantizedModel& model);

}  // namespace attar
