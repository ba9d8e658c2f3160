// Two modes of numbers:
//   Fp32      dequantized weights, f32 activations and keys/values: the reference, for parity
//   Deployed  int8 activations per 32, packed weights: what users run
#pragma once

namespace attar::runtime {

enum class Numerics { Fp32, Deployed };

}  // namespace attar::runtime
