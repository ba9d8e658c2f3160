#include "runtime/base/byte_size.h"

#include <charconv>
#include <cmath>

#include "runtime/base/error.h"

namespace attar {

uint64_t parse_size(const std::string& text, const std::string& where) {
  struct Unit {
    const char* suffix;
    double bytes;
  };
  static constexpr Unit kUnits[] = {{"", 1.0},   {"B", 1.0},      {"KB", 1e3},     {"MB", 1e6},
                                    {"GB", 1e9}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}};
  double number = 0.0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string suffix(end, text.data() + text.size());
  if (code == std::errc() && number > 0.0 && number < 1e15)
    for (const Unit& unit : kUnits)
      if (suffix == unit.suffix) return static_cast<uint64_t>(number * unit.bytes);
  throw usage_error(where, "is not a size", "a number with B, KB, MB, GB, KiB, MiB or GiB, such as 60MB",
                    printable(text));
}

bool counts_bytes(const std::string& name) {
  return name == "bytes";
}

bool parse_amount(const std::string& name, const std::string& text, double& value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code == std::errc() && end == text.data() + text.size()) return std::isfinite(value);
  if (!counts_bytes(name)) return false;
  try {
    value = static_cast<double>(parse_size(text));
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace attar
