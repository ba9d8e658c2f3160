// Arithmetic on sizes that come from a file: it throws an Input error instead of wrapping.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "runtime/base/error.h"

namespace attar {

inline uint64_t checked_mul(uint64_t a, uint64_t b, const std::string& where) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product))
    throw input_error(where, "a size overflows 64 bits", "", std::to_string(a) + " * " + std::to_string(b));
  return product;
}

inline uint64_t checked_add(uint64_t a, uint64_t b, const std::string& where) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum))
    throw input_error(where, "a size overflows 64 bits", "", std::to_string(a) + " + " + std::to_string(b));
  return sum;
}

inline uint64_t round_up(uint64_t value, uint64_t multiple, const std::string& where) {
  const uint64_t rest = value % multiple;
  return rest == 0 ? value : checked_add(value, multiple - rest, where);
}

// value as a T, or an Input error that names both.
template <class T, class U>
T checked_cast(U value, const std::string& where) {
  const T narrow = static_cast<T>(value);
  if (static_cast<U>(narrow) != value || ((narrow < T{}) != (value < U{})))
    throw input_error(where, "a number does not fit", "at most " + std::to_string(std::numeric_limits<T>::max()),
                      std::to_string(value));
  return narrow;
}

}  // namespace attar
