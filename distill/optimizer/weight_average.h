// The exponential moving average of what is trained, which is often better than the last weights (Polyak and Juditsky
// 1992; as the field uses it: Izmailov et al. 2018, arXiv 1803.05407, section 3.4 names both).
#pragma once

#include <cstdint>

#include "compress/reparameterization.h"

namespace attar {

// The share of itself that the average keeps at an update with `updates` before it: `ema`, and less in the first ones,
// min(ema, (1 + n) / (10 + n)), so that what the training began with is soon forgotten.
double average_decay(double ema, int64_t updates);

// average += (1 - decay) * (weights - average), in f32, tensor by tensor.
void update_average(NamedTensors& average, const NamedTensors& weights, double decay, int threads);

// The values change places; the tensors, and all that shares memory with them, stay where they are.
void exchange(NamedTensors& a, NamedTensors& b, int threads);

}  // namespace attar
