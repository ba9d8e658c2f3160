// What each tensor would cost in each type, in nats of KL divergence a token, before anything is quantized: the noise
// that rounding leaves in each input (in), under what error feedback can make up for and how much the predictions
// depend on the outputs. A role's costs are brought to scale by a probe: the divergence that is measured when that
// role alone is rounded.
#pragma once

#include <vector>

#include "compress/weight_source.h"
#include "quantize/measure/survey.h"
#include "quantize/quantize.h"

namespace attar {

enum class Rounding { Alone, FedBack };  // each weight by itself, or with error feedback

// Of `types` those that a row divides by, IQ4_NL among them. Probes take the first of the sequences.
Sensitivity measure_sensitivity(const WeightSource& weights, const Survey& survey,
                                const std::vector<TokenBatch>& sequences, const std::vector<TensorType>& types,
                                Rounding rounding, int threads, const Progress& progress = {});

}  // namespace attar
