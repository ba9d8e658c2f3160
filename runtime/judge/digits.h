// Numbers as people read them, with no more digits than they carry.
#pragma once

#include <string>

namespace attar::runtime {

// Rounded to `significant` digits, never in exponents: 81339, 3 -> "81,300"; 0.011579, 3 -> "0.0116".
std::string with_digits(double value, int significant);

// Rounded to where its spread begins (two digits of a spread that begins with 1): 0.11579, 0.00233 -> "0.116 ± 0.002".
// Without a spread that is a number above 0: three digits and nothing behind.
std::string with_spread(double value, double spread);
std::string to_spread(double value, double spread);  // "0.116": the value alone

}  // namespace attar::runtime
