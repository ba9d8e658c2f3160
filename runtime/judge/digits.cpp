#include "runtime/judge/digits.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace attar::runtime {
namespace {

// The power of ten of the first digit: 4 of 81339, -2 of 0.0116.
int first_digit(double value) {
  return value == 0.0 ? 0 : static_cast<int>(std::floor(std::log10(std::abs(value)) + 1e-12));
}

// Rounded at the digit of that power of ten; thousands are told apart.
std::string rounded_at(double value, int power) {
  const double unit = std::pow(10.0, power);
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", std::max(0, -power), power > 0 ? std::round(value / unit) * unit : value);
  std::string out = text;
  const size_t whole = std::min(out.find('.'), out.size()), sign = out[0] == '-' ? 1 : 0;
  for (size_t at = whole; at > sign + 3;) out.insert(at -= 3, ",");
  return out;
}

int spread_digit(double spread) {
  const int first = first_digit(spread);
  return spread < 2.0 * std::pow(10.0, first) ? first - 1 : first;
}

bool known(double spread) {
  return std::isfinite(spread) && spread > 0.0;
}

}  // namespace

std::string with_digits(double value, int significant) {
  if (!std::isfinite(value)) return "–";
  const int power = first_digit(value) - significant + 1;
  // 9.996 has one digit more once it is rounded
  const double unit = std::pow(10.0, power);
  return rounded_at(value, first_digit(std::round(value / unit) * unit) - significant + 1);
}

std::string to_spread(double value, double spread) {
  return known(spread) ? rounded_at(value, spread_digit(spread)) : with_digits(value, 3);
}

std::string with_spread(double value, double spread) {
  if (!known(spread)) return to_spread(value, spread);
  return to_spread(value, spread) + " ± " + rounded_at(spread, spread_digit(spread));
}

}  // namespace attar::runtime
