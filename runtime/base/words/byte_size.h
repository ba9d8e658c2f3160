// Sizes as people write them.
#pragma once

#include <cstdint>
#include <string>

namespace attar {

// "60MB", "60 MB", "58MiB", "1.5 GB", "500B" -> bytes; capitals do not matter. Error{Usage} naming `where` otherwise:
// also for a number alone, which may be meant in any unit.
uint64_t parse_size(const std::string& text, const std::string& where);

// What parse_size takes, as a regular expression of JSON Schema.
inline constexpr const char* kSizePattern = "^(?=.*[1-9])[0-9]*\\.?[0-9]+ *([Bb]|[KkMmGg][Bb]|[KkMmGg][Ii][Bb])$";

// A number, or where the entry of that name counts bytes, a size: {"bytes": "60MB"}. Nothing: it is neither.
bool parse_amount(const std::string& name, const std::string& text, double& value);
bool counts_bytes(const std::string& name);

// "60.0 MB", "1.23 GB", "812 bytes"
std::string size_text(uint64_t bytes);

}  // namespace attar
