// Values that a type cannot hold because they are too small for it.
#pragma once

#include <set>

#include "quantize/quantize.h"

namespace attar {

// The share of its energy beyond which a tensor is lost.
double most_loss(TensorType type);

// Plans as F32 what its type would lose, by the tensors' relative errors. -> the places in the plan. Error{Input} where
// a target size has no room for it.
std::set<size_t> keep_small_values(QuantizedModel& model);

}  // namespace attar
