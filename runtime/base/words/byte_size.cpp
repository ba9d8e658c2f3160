#include "runtime/base/words/byte_size.h"

#include <cerrno>
#include <clocale>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <optional>

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

// Where the decimal number ends that a text begins with: -1.5e3. 0: it begins with none.
size_t number_end(const std::string& text) {
  size_t at = text.starts_with('-') ? 1 : 0, n_digits = 0;
  const auto digits = [&] {
    const size_t begin = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at - begin;
  };
  n_digits = digits();
  if (at < text.size() && text[at] == '.') ++at, n_digits += digits();
  if (n_digits == 0) return 0;
  const size_t mantissa = at;
  if (at < text.size() && (text[at] | 32) == 'e') {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (digits() > 0) return at;
  }
  return mantissa;
}

// Such a number, whatever locale the host has set. std::from_chars brings tables of 20 KB along. Nothing: none that a
// double holds.
std::optional<double> decimal(std::string number) {
  if (number.empty()) return std::nullopt;
  if (const size_t point = number.find('.'); point != std::string::npos)
    number.replace(point, 1, std::localeconv()->decimal_point);
  errno = 0;
  const double value = std::strtod(number.c_str(), nullptr);
  const bool lost = errno == ERANGE && (value == 0.0 || !std::isfinite(value));
  return lost ? std::nullopt : std::optional(value);
}

}  // namespace

uint64_t parse_size(const std::string& text, const std::string& where) {
  const size_t end = number_end(text);
  const double number = decimal(text.substr(0, end)).value_or(0.0);
  std::string unit;
  for (const char letter : text.substr(end))
    if (letter != ' ') unit += static_cast<char>(letter >= 'A' && letter <= 'Z' ? letter + 32 : letter);
  const bool counts = number > 0.0 && number < 1e15;
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
  if (!text.empty() && number_end(text) == text.size())
    if (const std::optional<double> number = decimal(text)) return value = *number, true;
  if (!counts_bytes(name)) return false;
  try {
    value = static_cast<double>(parse_size(text, name));
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace attar
