// The F16 numbers that a block keeps, d and dmin, as something to change: layouts are known to the formats alone, so
// where they are is found by writing blocks that differ in nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "quantize/grid/grid.h"

namespace attar {

struct StepPlaces {
  std::optional<int64_t> d, dmin;  // offset in a block; none where the type has no such number
};
StepPlaces step_places(const QuantFormat& format);

float half_at(const std::byte* block, int64_t place);
void put_half(std::byte* block, int64_t place, float value);

// The grid of the same blocks with d and dmin of 1: what a group's scale and minimum are multiples of.
Grid multiples_of(const Grid& grid);

}  // namespace attar
