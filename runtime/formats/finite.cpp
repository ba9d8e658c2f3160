#include "runtime/formats/finite.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "runtime/base/error.h"

namespace attar {

namespace {
constexpr uint32_t kExponent = 0x7f800000;  // all ones in NaN and infinity
}

bool all_finite(std::span<const float> values) {
  uint32_t bad = 0;  // without a branch, so that compilers make vectors of it
  for (const float value : values) bad |= uint32_t{(std::bit_cast<uint32_t>(value) & kExponent) == kExponent};
  return bad == 0;
}

void require_finite(const std::string& tensor, std::span<const float> values, int64_t first) {
  if (all_finite(values)) return;
  const auto bad = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  throw input_error("tensor " + tensor, "holds a value that is not finite", "",
                    "at element " + std::to_string(first + (bad - values.begin())),
                    "the model is damaged or its training diverged; nothing was written");
}

}  // namespace attar
