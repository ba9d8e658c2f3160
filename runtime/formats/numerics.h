// Two modes of numbers, and what options and files call them:
//   Fp32      "fp32": dequantized weights, f32 activations and keys/values: the reference, for parity
//   Deployed  "deployed": int8 activations per 32, packed weights: what users run
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace attar {

enum class Numerics { Fp32, Deployed };

std::optional<Numerics> find_numerics(std::string_view name);

// Error{Usage} naming `where` for another name.
Numerics numerics_of(const std::string& name, const std::string& where);

}  // namespace attar
