// Sizes as people write them.
#pragma once

#include <cstdint>
#include <string>

namespace attar {

// "60MB", "58MiB", "1.5GB", "60000000" -> bytes; Error{Usage} otherwise.
uint64_t parse_size(const std::string& text, const std::string& where = "target_size");

// What parse_size takes, as a regular expression of JSON Schema.
inline constexpr const char* kSizePattern = "^(?=.*[1-9])[0-9]*\\.?[0-9]+(B|KB|MB|GB|KiB|MiB|GiB)?$";

// A number, or where the entry of that name counts bytes, a size: {"bytes": "60MB"}. Nothing: it is neither.
bool parse_amount(const std::string& name, const std::string& text, double& value);
bool counts_bytes(const std::string& name);

}  // namespace attar
