#include "runtime/base/words/byte_size.h"

#include <charconv>
#include <cmath>
#include <cstdio>

#include "runtime/base/error.h"

namespace attar {
namespace {

struct Unit {
  const char* name;
  double bytes;
};
constexpr Unit kUnits[] = {{"b", 1.0},      {"kb", 1e3},     {"mb", 1e6},    {"gb", 1e9},
                           {"kib", 0x1p10}, {"mib", 0x1p20}, {"gib", 0x1p30}};
constexpr double kLikelyMegabytes = 1e5;  // below it a number without a unit is hardly a count of bytes

}  // namespace

uint64_t parse_size(const std::string& text, const std::string& where) {
  double number = 0.0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit;
  for (const char* at = end; at < text.data() + text.size(); ++at)
    if (*at != ' ') unit += static_cast<char>(*at >= 'A' && *at <= 'Z' ? *at + 32 : *at);
  const bool counts = code == std::errc() && number > 0.0 && number < 1e15;
  if (counts && unit.empty())
    throw usage_error(where, "has no unit", text + (number < kLikelyMegabytes ? "MB" : "B"), printable(text));
  for (const Unit& known : kUnits)
    if (counts && unit == known.name) return static_cast<uint64_t>(number * known.bytes);
  throw usage_error(where, "is not a size", "a number with B, KB, MB, GB, KiB, MiB or GiB, such as 60MB",
                    printable(text));
}

std::string size_text(uint64_t bytes) {
  const auto value = static_cast<double>(bytes);
  char text[32];
  if (value >= 1e9)
    std::snprintf(text, sizeof text, "%.2f GB", value * 1e-9);
  else if (value >= 1e6)
    std::snprintf(text, sizeof text, "%.1f MB", value * 1e-6);
  else if (value >= 1e4)
    std::snprintf(text, sizeof text, "%.1f KB", value * 1e-3);
  else
    std::snprintf(text, sizeof text, "%llu bytes", static_cast<unsigned long long>(bytes));
  return text;
}

bool counts_bytes(const std::string& name) {
  return name == "bytes";
}

bool parse_amount(const std::string& name, const std::string& text, double& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc() && end == text.data() + text.size()) return std::isfinite(value);
  if (!counts_bytes(name)) return false;
  try {
    value = static_cast<double>(parse_size(text, name));
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace attar
