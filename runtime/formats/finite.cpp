#include "runtime/formats/finite.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/error.h"

namespace attar {

void require_finite(const std::string& tensor, std::span<const float> values) {
  const auto bad = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  if (bad == values.end()) return;
  throw input_error("tensor " + tensor, "holds a value that is not finite", "",
                    "at element " + std::to_string(bad - values.begin()),
                    "the model is damaged or its training diverged; nothing was written");
}

}  // namespace attar
