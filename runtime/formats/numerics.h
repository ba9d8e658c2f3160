// Two modes of numbers, and what options and files call them:
//   Fp32      "fp32": dequantized weights, f32 activations and keys/values: the reference, for parity
//   Deployed  "deployed": int8 activations per 32, packed weights: what users run
// and how a deployed model keeps its keys and values:
//   F16       "f16"
//   Int8      "int8": codes from -127 to 127 under one f32 scale a head and token, queries likewise
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace attar {

enum class Numerics { Fp32, Deployed };

std::optional<Numerics> find_numerics(std::string_view name);

// Error{Usage} naming `where` for another name.
Numerics numerics_of(const std::string& name, const std::string& where);

enum class KvFormat { F16, Int8 };
inline constexpr const char* kKvHelp =
    "keys and values of a deployed model: f16, or int8 (half the memory); without it what the file plans, else f16";

const char* name_of(KvFormat format);
std::optional<KvFormat> find_kv_format(std::string_view name);

// What an option says: "" nothing. Error{Usage} naming `where` for another name.
std::optional<KvFormat> kv_format_of(const std::string& name, const std::string& where);
// The same where the option meets a mode of numbers, which must then be Deployed. Error{Usage}.
std::optional<KvFormat> kv_format_of(const std::string& name, const std::string& where, Numerics numerics);

}  // namespace attar
